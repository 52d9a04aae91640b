package kafka_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
)

func TestConfigFrom(t *testing.T) {
	dsn, err := brokers.ParseDSN("kafka://app:p@h1,h2:9093?sasl=scram-sha-256&client_id=c&replicas=3&topic_configs=retention.ms:1000,cleanup.policy:compact" +
		"&acks=leader&compression=zstd&batch_messages=7&batch_bytes=64KiB&linger=5ms&dial_timeout=1s&request_timeout=2s&retry_min=3ms&retry_max=4s&metadata_interval=5s")
	if err != nil {
		t.Fatal(err)
	}
	got, err := kafka.ConfigFrom(dsn)
	if err != nil {
		t.Fatal(err)
	}
	want := kafka.Config{
		Seeds: []string{"h1:9092", "h2:9093"}, User: "app", Password: brokers.NewSecret("p"), Mechanism: kafka.ScramSHA256, ClientID: "c",
		Replicas: 3, TopicConfigs: map[string]string{"retention.ms": "1000", "cleanup.policy": "compact"},
		Acks: kafka.AcksLeader, Compression: kafka.CompressZstd, BatchMessages: 7, BatchBytes: 64 << 10, Linger: 5 * time.Millisecond,
		DialTimeout: time.Second, RequestTimeout: 2 * time.Second, RetryMin: 3 * time.Millisecond, RetryMax: 4 * time.Second,
		MetadataInterval: 5 * time.Second,
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || got.Password.Reveal() != "p" {
		t.Errorf("got %+v; want %+v", got, want)
	}
}

func TestConfigFromTLS(t *testing.T) {
	dsn, err := brokers.ParseDSN("kafka+tls://h?server_name=n")
	if err != nil {
		t.Fatal(err)
	}
	got, err := kafka.ConfigFrom(dsn)
	if err != nil || got.TLS == nil || got.TLS.ServerName != "n" || got.TLS.MinVersion < tls.VersionTLS12 {
		t.Errorf("TLS of kafka+tls: %+v, %v", got.TLS, err)
	}
}

// What is wrong in a DSN is an error that names it, before anything is dialled.
func TestDSNInvalid(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, names := range map[string]string{
		"kafka://h?colour=red":                                    "colour",
		"kafka://h?acks=some":                                     "acks",
		"kafka://h?sasl=gssapi":                                   "sasl",
		"kafka://h?compression=lzma":                              "compression",
		"kafka://h?topic_configs=x":                               "topic_configs",
		"kafka://h?ca_file=x":                                     "ca_file",
		"kafka://h/path":                                          "path",
		"kafka://h?retry_min=2s&retry_max=1s":                     "RetryMin",
		"kafka://h?batch_bytes=1GB":                               "BatchBytes",
		"kafka+tls://h?ca_file=/no/such/file":                     "ca_file",
		"kafka+tls://h?ca_file=" + empty:                          "ca_file",
		"kafka+tls://h?cert_file=x":                               "key_file",
		"kafka+tls://h?cert_file=" + empty + "&key_file=" + empty: "cert_file",
		"kafka://h?replicas=0":                                    "replicas",
		"kafka://app:%00@h":                                       "Password",
	} {
		_, err := brokers.Open(t.Context(), text, kafka.Driver)
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v; want ErrInvalid that names %s", text, err, names)
		}
	}
}

func TestConfigInvalid(t *testing.T) {
	for field, cfg := range map[string]kafka.Config{
		"Mechanism":        {Mechanism: 9},
		"Replicas":         {Replicas: -1},
		"Acks":             {Acks: 9},
		"Compression":      {Compression: 9},
		"BatchMessages":    {BatchMessages: -1},
		"BatchBytes":       {BatchBytes: -1},
		"Linger":           {Linger: -1},
		"DialTimeout":      {DialTimeout: -1},
		"RequestTimeout":   {RequestTimeout: -1},
		"RetryMin":         {RetryMin: -1},
		"RetryMax":         {RetryMax: -1},
		"MetadataInterval": {MetadataInterval: -1},
	} {
		_, err := kafka.Open(t.Context(), cfg)
		if !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("a wrong %s: %v; want ErrInvalid that names it", field, err)
		}
	}
}
