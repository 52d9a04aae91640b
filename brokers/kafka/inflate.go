package kafka

import (
	"bytes"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// inflate returns the records of a batch, which are at most that many bytes. What
// is not compressed is returned as it is.
func inflate(c Compression, data []byte, most int) ([]byte, error) {
	if c == CompressNone {
		return data, nil
	}
	if c > CompressZstd {
		return nil, fmt.Errorf("%w: compression %d is unknown", errBatch, c)
	}
	r := compress.Compression(c).Codec().NewReader(bytes.NewReader(data))
	defer func() { _ = r.Close() }() // it only gives memory back
	var out bytes.Buffer
	out.Grow(min(4*len(data), most) + bytes.MinRead)
	n, err := out.ReadFrom(io.LimitReader(r, int64(most)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: inflate it: %w", errBatch, err)
	case n > int64(most):
		return nil, fmt.Errorf("%w, now %d", errInflated, most)
	}
	return out.Bytes(), nil
}
