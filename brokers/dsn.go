package brokers

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// DSN is a parsed data source name:
//
//	scheme://user:password@host:port,host:port/path?option=value&option=value
//
// Everything but the scheme may be left out. User, password, path and options
// may be percent-encoded. Printed in any way, it leaves out user and password.
//
// A driver reads its options with [DSN.Text] and the like, which remember what
// was read and what was wrong, and calls [DSN.Finish] before it uses any of
// them. That is for one goroutine at a time.
type DSN struct {
	// Scheme is in lower case.
	Scheme string
	// Hosts are as written, with or without ":port"; nil if there is none.
	Hosts []string
	// User and Password are those of the user information. The options
	// password_file and password_env name a file or an environment variable that
	// Password is taken from instead.
	User     string
	Password Secret
	// Path is decoded and begins with its slash, if there is one.
	Path string

	options *options
}

// ParseDSN parses a data source name, and reads the file or variable that its
// password is in. An error wraps [ErrInvalid] and quotes nothing that may be
// secret.
func ParseDSN(text string) (*DSN, error) {
	d, err := parseDSN(text)
	if err != nil {
		return nil, fmt.Errorf("%w: DSN: %w", ErrInvalid, err)
	}
	return d, nil
}

func parseDSN(text string) (*DSN, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !isScheme(scheme) {
		return nil, errors.New("does not begin with a scheme and ://")
	}
	if strings.Contains(rest, "#") {
		return nil, errors.New("has a fragment; write # as %23")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.Contains(path+query, "@") {
		// Most likely a / or ? in the password, which then passes for a host.
		return nil, errors.New("has an @ behind its hosts; write @ as %40, and in a password / as %2F and ? as %3F")
	}
	d := &DSN{Scheme: strings.ToLower(scheme)}
	var err error
	if d.Path, err = url.PathUnescape(path); err != nil {
		return nil, errors.New("path is not well percent-encoded")
	}
	if err := d.setAuthority(authority); err != nil {
		return nil, err
	}
	if d.options, err = parseOptions(query); err != nil {
		return nil, err
	}
	return d, d.findPassword()
}

// isScheme follows RFC 3986.
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

func (d *DSN) setAuthority(authority string) error {
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := d.setUser(authority[:i]); err != nil {
			return err
		}
		authority = authority[i+1:]
	}
	if authority == "" {
		return nil
	}
	d.Hosts = strings.Split(authority, ",")
	for i, host := range d.Hosts {
		if !isHost(host) {
			return fmt.Errorf("host %d is not of the form host or host:port", i+1)
		}
	}
	return nil
}

func (d *DSN) setUser(info string) error {
	user, password, _ := strings.Cut(info, ":")
	user, err := url.PathUnescape(user)
	if err != nil {
		return errors.New("user is not well percent-encoded")
	}
	password, err = url.PathUnescape(password)
	if err != nil {
		return errors.New("password is not well percent-encoded; write % as %25")
	}
	d.User, d.Password = user, NewSecret(password)
	return nil
}

// isHost says whether s is a name, an IPv4 address or an IPv6 address in
// brackets, perhaps with a port.
func isHost(s string) bool {
	name := s
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		name = s[:i]
		if port, err := strconv.ParseUint(s[i+1:], 10, 16); err != nil || port == 0 {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		address, closed := strings.CutSuffix(inner, "]")
		ip, _, _ := strings.Cut(address, "%")
		return closed && net.ParseIP(ip) != nil
	}
	return name != "" && !strings.ContainsAny(name, ":[]@%\\ \t\r\n\"<>^`{|}")
}

// Addresses returns the hosts with a port each: their own, or the default one.
func (d *DSN) Addresses(port int) []string {
	addresses := slices.Clone(d.Hosts)
	for i, host := range addresses {
		if strings.LastIndexByte(host, ':') <= strings.LastIndexByte(host, ']') {
			addresses[i] = host + ":" + strconv.Itoa(port)
		}
	}
	return addresses
}

// String is the DSN without user and password, and without the values of options
// whose names say that they are secret.
func (d DSN) String() string {
	s := d.Scheme + "://" + strings.Join(d.Hosts, ",") + (&url.URL{Path: d.Path}).EscapedPath()
	if query := d.options.String(); query != "" {
		s += "?" + query
	}
	return s
}

// GoString is String.
func (d DSN) GoString() string { return d.String() }

// MarshalText is String, also for encoding/json.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// LogValue is String.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }
