package rabbitmq

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers"
)

// What a declaration is of.
const (
	whatExchange = "exchange"
	whatQueue    = "queue"
)

// What is no argument in AMQP is one here, of the name that it has in the
// server's complaints.
const (
	flagKind       = "type"
	flagDurable    = "durable"
	flagAutoDelete = "auto_delete"
	flagInternal   = "internal"
)

// declaration is an exchange or a queue as it is asked for.
type declaration struct {
	what, name string
	foreign    bool
	args       amqp.Table // and flags
}

func (d *declaration) flag(name string) bool {
	is, _ := d.args[name].(bool)
	return is
}

// arguments are those without the flags.
func (d *declaration) arguments() amqp.Table {
	args := maps.Clone(d.args)
	for _, flag := range []string{flagKind, flagDurable, flagAutoDelete, flagInternal} {
		delete(args, flag)
	}
	return args
}

// declare makes it, or has the server compare it with what is there.
func (d *declaration) declare(ch *amqp.Channel) error { return d.declareWith(ch, d.arguments()) }

func (d *declaration) declareWith(ch *amqp.Channel, args amqp.Table) error {
	if d.what == whatExchange {
		kind, _ := d.args[flagKind].(string)
		return ch.ExchangeDeclare(d.name, kind, d.flag(flagDurable), d.flag(flagAutoDelete), d.flag(flagInternal), false, args)
	}
	_, err := ch.QueueDeclare(d.name, d.flag(flagDurable), d.flag(flagAutoDelete), false, false, args)
	return err
}

// probe has the server compare it, and never makes it: with one argument that no
// queue or exchange can be made with. Of a queue that exists the server does not
// look at x-max-age, which streams have. Of an exchange it looks at the alternate
// last, and then says what it is.
func (d *declaration) probe(ch *amqp.Channel) error {
	args := d.arguments()
	if d.what == whatExchange {
		args[alternateArgument] = true
	} else {
		args["x-max-age"] = "of no queue"
	}
	return d.declareWith(ch, args)
}

// exists asks for no more than the name.
func (d *declaration) exists(conn *connection) (bool, error) {
	err := conn.with(func(ch *amqp.Channel) error {
		if d.what == whatExchange {
			return ch.ExchangeDeclarePassive(d.name, amqp.ExchangeDirect, true, false, false, false, nil)
		}
		_, err := ch.QueueDeclarePassive(d.name, true, false, false, false, nil)
		return err
	})
	switch {
	case hasCode(err, amqp.NotFound):
		return false, nil
	case hasCode(err, amqp.PreconditionFailed), hasCode(err, amqp.ResourceLocked):
		return true, nil // of another type, or another connection's
	}
	return err == nil, err
}

// compare adds to change what is not as asked. The server names one difference at
// a time, so the next is asked for with what it said of the last.
func (d *declaration) compare(conn *connection, change *TopologyChange) error {
	if d.foreign {
		return d.compareName(conn, change, nil)
	}
	trial := *d
	trial.args = maps.Clone(d.args)
	for range len(d.args) + len(queueArguments) {
		err := conn.with(trial.probe)
		c, is := complaintOf(err)
		switch {
		case err == nil:
			return nil
		case errors.Is(unknownKind(err), brokers.ErrUnsupported):
			return unknownKind(err)
		case !is && (hasCode(err, amqp.AccessRefused) || hasCode(err, amqp.PreconditionFailed)):
			return d.compareName(conn, change, err)
		case !is:
			return err
		case c.argument == alternateArgument && d.what == whatExchange:
			// It is asked for last, so all else is the same by now.
			if c.text() != d.text(alternateArgument) {
				change.Differences = append(change.Differences, d.difference(c))
			}
			return nil
		}
		change.Differences = append(change.Differences, d.difference(c))
		if !c.known || !trial.adopt(c) {
			return nil
		}
	}
	return nil
}

// compareName is all that can be asked where the server did not compare, because
// of err.
func (d *declaration) compareName(conn *connection, change *TopologyChange, err error) error {
	there, failed := d.exists(conn)
	switch {
	case failed != nil:
		return failed
	case !there:
		change.Missing = append(change.Missing, Missing{What: d.what, Name: d.name, Foreign: d.foreign})
	case !d.foreign && hasCode(err, amqp.AccessRefused):
		change.Unchecked = append(change.Unchecked, fmt.Sprintf("%s %q: the user may not have it compared", d.what, d.name))
	case !d.foreign:
		return err
	}
	return nil
}

// adopt asks for what the server has, so that it names what else differs. False:
// that cannot be asked for.
func (d *declaration) adopt(c complaint) bool {
	if c.none {
		delete(d.args, c.argument)
		return true
	}
	like := d.args[c.argument]
	if c.kind == "long" || c.kind == "signedint" || c.kind == "short" || c.kind == "unsignedint" {
		like = int64(0)
	} else if c.kind == "bool" {
		like = false
	}
	var err error
	switch like.(type) {
	case bool:
		d.args[c.argument], err = strconv.ParseBool(c.have)
	case int64, int32, int16, int:
		d.args[c.argument], err = strconv.ParseInt(c.have, 10, 64)
	case string, nil:
		d.args[c.argument] = c.have
	default:
		return false
	}
	return err == nil
}

// text is an argument as a TopologyDifference has it.
func (d *declaration) text(argument string) string {
	v, is := d.args[argument]
	if !is {
		return none
	}
	return cmp.Or(fmt.Sprint(v), empty)
}

func (d *declaration) difference(c complaint) TopologyDifference {
	return TopologyDifference{What: d.what, Name: d.name, Argument: c.argument, Have: c.text(), Want: d.text(c.argument)}
}

// complaint is the server's answer that an argument is not what is there.
type complaint struct {
	argument string
	have     string
	kind     string // of have, where the server says
	none     bool   // there is no such argument
	known    bool   // the server's text was not cut before it said
}

// Values that could not be seen otherwise: of an argument that is not set, and of
// one that is set to nothing, as the name of the default exchange.
const (
	none  = "none"
	empty = "empty"
)

func (c complaint) text() string {
	switch {
	case !c.known:
		return "unknown (the server's answer was cut)"
	case c.none:
		return none
	}
	return cmp.Or(c.have, empty)
}

var (
	complainsOf = regexp.MustCompile(`inequivalent arg '([^']+)'`)
	currentIs   = regexp.MustCompile(`.* but current is (?:(none)|'(.*)'|the value '(.*)' of type '(\w+)')$`)
	kindUnknown = regexp.MustCompile(`unknown exchange type|invalid exchange type`)
)

// complaintOf reads the text of an error, as AMQP has no field for it. The text is
// the same in 3.10 and 4.0; it is cut after 255 bytes.
func complaintOf(err error) (complaint, bool) {
	var said *amqp.Error
	if !errors.As(err, &said) || !said.Server || said.Code != amqp.PreconditionFailed {
		return complaint{}, false
	}
	argument := complainsOf.FindStringSubmatch(said.Reason)
	if argument == nil {
		return complaint{}, false
	}
	c := complaint{argument: argument[1]}
	if has := currentIs.FindStringSubmatch(said.Reason); has != nil {
		c.none, c.known = has[1] != "", true
		c.have, c.kind = has[2]+has[3], has[4]
	}
	return c, true
}
