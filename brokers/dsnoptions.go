package brokers

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are those of a DSN, and what was made of them.
type options struct {
	names  []string // in the order of the DSN
	values map[string]string
	known  []string // that somebody asked for
	errs   []error
}

func parseOptions(query string) (*options, error) {
	o := &options{values: map[string]string{}}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, errors.New("the name of an option is not well percent-encoded")
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, fmt.Errorf("option %q is not well percent-encoded", name)
		}
		if _, ok := o.values[name]; ok {
			return nil, fmt.Errorf("option %q is given twice", name)
		}
		o.names = append(o.names, name)
		o.values[name] = value
	}
	return o, nil
}

// String is the query, but for secrets.
func (o *options) String() string {
	if o == nil {
		return ""
	}
	pairs := make([]string, len(o.names))
	for i, name := range o.names {
		value := url.QueryEscape(o.values[name])
		if soundsSecret(name) {
			value = Redacted
		}
		pairs[i] = url.QueryEscape(name) + "=" + value
	}
	return strings.Join(pairs, "&")
}

// soundsSecret is for options that nobody has read yet, or that are misspelt.
func soundsSecret(name string) bool {
	name = strings.ToLower(name)
	if strings.HasSuffix(name, "_file") || strings.HasSuffix(name, "_env") {
		return false
	}
	return slices.ContainsFunc([]string{"pass", "pwd", "secret", "token", "credential", "key"},
		func(word string) bool { return strings.Contains(name, word) })
}

// findPassword takes the password from where the options say it is.
func (d *DSN) findPassword() error {
	file, fromFile := d.options.take("password_file")
	variable, fromVariable := d.options.take("password_env")
	given := d.Password.Reveal() != ""
	switch {
	case fromFile && fromVariable, given && fromFile, given && fromVariable:
		return errors.New("has more than one of a password, password_file and password_env")
	case fromFile:
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("option password_file: %w", err)
		}
		d.Password = NewSecret(strings.TrimRight(string(text), "\r\n"))
	case fromVariable:
		text, ok := os.LookupEnv(variable)
		if !ok {
			return fmt.Errorf("option password_env: the environment has no %q", variable)
		}
		d.Password = NewSecret(text)
	}
	return nil
}

// take returns an option's value and notes that it is known.
func (o *options) take(name string) (string, bool) {
	if !slices.Contains(o.known, name) {
		o.known = append(o.known, name)
	}
	value, ok := o.values[name]
	return value, ok
}

// read returns an option as parse has it, or def if it is not given or wrong,
// which Finish then says. wants says what would be right.
func read[T any](o *options, name string, def T, wants string, parse func(string) (T, bool)) T {
	text, ok := o.take(name)
	if !ok {
		return def
	}
	value, ok := parse(text)
	if !ok {
		if soundsSecret(name) {
			text = Redacted
		}
		o.errs = append(o.errs, fmt.Errorf("option %q is %q, want %s", name, text, wants))
		return def
	}
	return value
}

// Text returns a text option, or def if it is not given.
func (d *DSN) Text(name, def string) string {
	return read(d.options, name, def, "", func(s string) (string, bool) { return s, true })
}

// Secret returns an option that is secret, empty if it is not given.
func (d *DSN) Secret(name string) Secret {
	return read(d.options, name, Secret{}, "", func(s string) (Secret, bool) { return NewSecret(s), true })
}

// Int returns a whole number from least to most, or def if it is not given.
func (d *DSN) Int(name string, def, least, most int) int {
	return read(d.options, name, def, fmt.Sprintf("a whole number from %d to %d", least, most), func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil && least <= n && n <= most
	})
}

// Duration returns a time such as 250ms or 1h30m, which is not negative, or def
// if it is not given.
func (d *DSN) Duration(name string, def time.Duration) time.Duration {
	return read(d.options, name, def, "a time such as 250ms, 10s or 1h30m", func(s string) (time.Duration, bool) {
		v, err := time.ParseDuration(s)
		return v, err == nil && v >= 0
	})
}

// Bool returns true or false, or def if the option is not given.
func (d *DSN) Bool(name string, def bool) bool {
	return read(d.options, name, def, "true or false", func(s string) (value, ok bool) {
		return s == "true", s == "true" || s == "false"
	})
}

// Enum returns one of values, or def if the option is not given.
func (d *DSN) Enum(name, def string, values ...string) string {
	return read(d.options, name, def, "one of "+strings.Join(values, ", "), func(s string) (string, bool) {
		return s, slices.Contains(values, s)
	})
}

// byteUnits are what sizes may end in, longest first.
var byteUnits = []struct {
	suffix string
	bytes  int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// Bytes returns a size such as 65536, 64KiB or 1MB, or def if the option is not
// given.
func (d *DSN) Bytes(name string, def int) int {
	return read(d.options, name, def, "a size such as 65536, 64KiB or 1MB", parseBytes)
}

func parseBytes(s string) (int, bool) {
	for _, u := range byteUnits {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok {
			n, err := strconv.ParseUint(digits, 10, 32)
			return int(n) * u.bytes, err == nil
		}
	}
	return 0, false
}

// Finish returns all that was wrong with the options at once: values that make
// no sense, and options that nobody has asked for, by name. It wraps
// [ErrInvalid].
func (d *DSN) Finish() error {
	errs := slices.Clone(d.options.errs)
	for _, name := range d.options.names {
		if !slices.Contains(d.options.known, name) {
			errs = append(errs, fmt.Errorf("option %q is unknown; there are: %s",
				name, strings.Join(slices.Sorted(slices.Values(d.options.known)), ", ")))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: DSN %s: %w", ErrInvalid, d, errors.Join(errs...))
}
