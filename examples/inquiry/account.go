package main

import (
	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

type (
	deposit    struct{ Pence int }
	getBalance struct{}
	balance    struct{ Pence int }
)

// codeNoAccount is the code of the error that there is no such account.
const codeNoAccount = "no_account"

// account is an actor, one for each name.
type account struct{ pence int }

func (a *account) deposited(_ *actors.Context, d deposit) error {
	a.pence += d.Pence
	return nil
}

func (a *account) balance(ctx *actors.Context, _ getBalance) (balance, error) {
	if a.pence == 0 {
		return balance{}, &brokers.ReplyError{Code: codeNoAccount, Message: "nothing was ever paid in for " + ctx.Key()}
	}
	return balance{a.pence}, nil
}

func accounts() actors.Actor {
	b := actors.PerKey(func(string) *account { return &account{} })
	actors.On(b, "deposit", (*account).deposited)
	actors.OnRequest(b, "getBalance", (*account).balance)
	return b
}
