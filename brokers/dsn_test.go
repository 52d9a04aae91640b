package brokers

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseDSN(t *testing.T) {
	for _, c := range []struct {
		text, scheme   string
		hosts          []string
		user, password string
		path, printed  string
	}{
		{text: "memory://", scheme: "memory", printed: "memory://"},
		{text: "NATS://embedded", scheme: "nats", hosts: []string{"embedded"}, printed: "nats://embedded"},
		{
			text: "kafka://h1:9092,h2:9093?acks=all", scheme: "kafka", hosts: []string{"h1:9092", "h2:9093"},
			printed: "kafka://h1:9092,h2:9093?acks=all",
		},
		{
			text: "amqps://us%40er:p%3A%2F%40%3Fss@[::1]:5671/%2Fv%20h", scheme: "amqps", hosts: []string{"[::1]:5671"},
			user: "us@er", password: "p:/@?ss", path: "//v h", printed: "amqps://[::1]:5671//v%20h",
		},
		{text: "amqp://u:p:q@h/", scheme: "amqp", hosts: []string{"h"}, user: "u", password: "p:q", path: "/", printed: "amqp://h/"},
		{text: "amqp://p@ss@h", scheme: "amqp", hosts: []string{"h"}, user: "p@ss", printed: "amqp://h"},
		{text: "x+y-1.z://[fe80::1%25eth0]", scheme: "x+y-1.z", hosts: []string{"[fe80::1%25eth0]"}, printed: "x+y-1.z://[fe80::1%25eth0]"},
		{
			text: "nats:///?name=a%20b+c&sasl_password=hunter2", scheme: "nats", path: "/",
			printed: "nats:///?name=a+b+c&sasl_password=" + Redacted,
		},
	} {
		d, err := ParseDSN(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if d.Scheme != c.scheme || !slices.Equal(d.Hosts, c.hosts) || d.User != c.user || d.Password.Reveal() != c.password || d.Path != c.path {
			t.Errorf("%s: %q %q %q %q %q", c.text, d.Scheme, d.Hosts, d.User, d.Password.Reveal(), d.Path)
		}
		if d.String() != c.printed {
			t.Errorf("%s is printed as %s, want %s", c.text, d, c.printed)
		}
	}
}

// Whatever is wrong with a DSN, the error does not tell its password.
func TestDSNErrorsTellNoSecret(t *testing.T) {
	for _, text := range []string{
		"",
		"hunter2",
		"localhost:9092/hunter2",
		"1http://hunter2",
		"://u:hunter2@h",
		"kafka://u:hunter2%zz@h",
		"kafka://hunter2%@h",
		"kafka://u:hunter2@h:port",
		"kafka://u:hunter2@h:0",
		"kafka://u:hunter2@h:65536",
		"kafka://u:hunter2@h1,,h2",
		"kafka://u:hunter2@[::1",
		"kafka://u:hunter2@[nonsense]:1",
		"kafka://u:hunter2@h/%zz",
		"kafka://u:12/hunter2@h",
		"kafka://u:12?hunter2@h",
		"kafka://u:12#hunter2@h",
		"kafka://u:hunter2@h?a=%zz",
		"kafka://u:hunter2@h?%zz=a",
		"kafka://u:hunter2@h?a=1&a=2",
		"kafka://u:hunter2@h?password_env=HOME",
		"kafka://u@h?password_env=HOME&password_file=/dev/null",
		"kafka://u@h?password_env=NO_SUCH_VARIABLE",
		"kafka://u@h?password_file=/no/such/file",
	} {
		d, err := ParseDSN(text)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, %v", text, d, err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestDSNPrintsNoSecret(t *testing.T) {
	d, err := ParseDSN("nats://hunter2:hunter3@h?token=hunter4&password_extra=hunter5")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "dsn", d, "value", *d, "password", d.Password)
	encoded, err := json.Marshal(map[string]any{"dsn": d, "value": *d, "password": d.Password})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(encoded), d.Finish().Error(), d.Password.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, d.Password), fmt.Sprintf(verb, &d.Password), fmt.Sprintf(verb, struct{ S Secret }{d.Password}))
		texts = append(texts, fmt.Sprintf(verb, []any{d.Password}))
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		texts = append(texts, fmt.Sprintf(verb, d), fmt.Sprintf(verb, *d))
	}
	for _, text := range texts {
		for _, secret := range []string{"hunter", "68756e74657233"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is told: %s", secret, text)
			}
		}
	}
	if got := fmt.Sprint(d.Password, Secret{}); got != Redacted+" " {
		t.Errorf("printed as %q", got)
	}
}

func TestDSNPasswordFromElsewhere(t *testing.T) {
	t.Setenv("TROUPE_TEST_PASSWORD", "hunter2")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"password_env=TROUPE_TEST_PASSWORD", "password_file=" + file} {
		d, err := ParseDSN("kafka://u@h?" + option)
		if err != nil {
			t.Fatal(err)
		}
		if d.User != "u" || d.Password.Reveal() != "hunter2" {
			t.Errorf("%s: %q, %q", option, d.User, d.Password.Reveal())
		}
		if err := d.Finish(); err != nil {
			t.Error(err)
		}
	}
}

func TestDSNAddresses(t *testing.T) {
	d, err := ParseDSN("kafka://a,b:1,[::1],[::1]:2")
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Addresses(9092); !slices.Equal(got, []string{"a:9092", "b:1", "[::1]:9092", "[::1]:2"}) {
		t.Errorf("%q", got)
	}
	if d.Hosts[0] != "a" {
		t.Error("Addresses changed Hosts")
	}
}

// got is what a driver reads from a DSN.
type got struct {
	text     string
	secret   string
	n        int
	duration time.Duration
	yes      bool
	enum     string
	bytes    int
}

func readAll(d *DSN) got {
	return got{
		d.Text("text", "t"),
		d.Secret("secret").Reveal(),
		d.Int("n", 3, 1, 10),
		d.Duration("duration", time.Second),
		d.Bool("yes", true),
		d.Enum("enum", "a", "a", "b"),
		d.Bytes("bytes", 7),
	}
}

func TestDSNOptions(t *testing.T) {
	defaults := got{"t", "", 3, time.Second, true, "a", 7}
	for _, c := range []struct {
		query  string
		want   got
		faults []string
	}{
		{"", defaults, nil},
		{
			"text=x%26y&secret=s&n=10&duration=1h30m&yes=false&enum=b&bytes=64KiB",
			got{"x&y", "s", 10, 90 * time.Minute, false, "b", 64 << 10},
			nil,
		},
		{
			"n=11&duration=-1s&yes=1&enum=c&bytes=many&texd=x", defaults,
			[]string{
				`"n" is "11", want a whole number from 1 to 10`, `"duration" is "-1s", want a time`, `"yes" is "1", want true or false`,
				`"enum" is "c", want one of a, b`, `"bytes" is "many", want a size`,
				`"texd" is unknown; there are: bytes, duration, enum, n, password_env, password_file, secret, text, yes`,
			},
		},
	} {
		d, err := ParseDSN("kafka://h?" + c.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(d); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.query, got, c.want)
		}
		err = d.Finish()
		if (err == nil) != (c.faults == nil) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", c.query, err)
		}
		for _, fault := range c.faults {
			if !strings.Contains(err.Error(), fault) {
				t.Errorf("%s: %v does not say: %s", c.query, err, fault)
			}
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "65536": 65536, "10B": 10, "64KiB": 65536, "3MiB": 3 << 20, "1GiB": 1 << 30, "2kB": 2000, "2MB": 2e6, "4GB": 4e9,
	} {
		if n, ok := parseBytes(text); !ok || n != want {
			t.Errorf("%s: %d, %v, want %d", text, n, ok, want)
		}
	}
	for _, text := range []string{"", "B", "-1", "1.5MB", "1 MB", "1mb", "4294967296", "0x10"} {
		if n, ok := parseBytes(text); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
}

func FuzzParseDSN(f *testing.F) {
	f.Add("amqp://user:pass@h1:1,[::1]:2/%2F?a=b&c=%20")
	f.Add("kafka://h?password_env=HOME")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "password_file") {
			t.Skip() // not every file
		}
		d, err := ParseDSN(text)
		if err != nil {
			return
		}
		again, err := ParseDSN(d.String())
		if err != nil && !strings.Contains(text, "password_env") {
			t.Fatalf("%q is printed as %q, which is wrong: %v", text, d, err)
		}
		if err == nil && again.String() != d.String() {
			t.Fatalf("%q is printed as %q, and that as %q", text, d, again)
		}
	})
}
