package api

import (
	"errors"
	"fmt"
)

// Code says what sort of failure an Error is. It is closed: a client may
// switch over it.
type Code string

// The codes.
const (
	// CodeUsage: the request itself is wrong; the same one will never succeed.
	CodeUsage Code = "usage"
	// CodeNotFound: a named port, or the path of the request, does not exist.
	CodeNotFound Code = "not_found"
	// CodeConflict: a name, address, MAC, prefix or interface belongs to somebody else.
	CodeConflict Code = "conflict"
	// CodeLimit: ports, descriptors, connections or bytes have run out.
	CodeLimit Code = "limit"
	// CodePermission: the caller, or the daemon, may not do this.
	CodePermission Code = "permission"
	// CodeBusy: not now; the same request may succeed a moment later.
	CodeBusy Code = "busy"
	// CodeGone: what the request is about (a netns, the NIC) was there and is no more.
	CodeGone Code = "gone"
	// CodeUnsupported: this kernel, driver or build lacks what is needed.
	CodeUnsupported Code = "unsupported"
	// CodeNoDaemon: nobody answers on the control socket. Only a client says this.
	CodeNoDaemon Code = "no_daemon"
	// CodeFailed: anything else.
	CodeFailed Code = "failed"
)

// Error is a failure in the form in which it crosses the control socket and
// reaches the user: one line that says what, why and what to do.
type Error struct {
	// Code is the sort of failure.
	Code Code `json:"code"`
	// Message says what failed and why, as "what: why".
	Message string `json:"message"`
	// Hint says what to do about it; may be empty.
	Hint string `json:"hint,omitempty"`

	cause error
}

// Errorf makes an Error of a code. The format is that of fmt.Errorf: what %w
// wraps stays reachable for errors.Is and errors.As.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), cause: err}
}

// WithHint returns e with another hint.
func (e *Error) WithHint(hint string) *Error {
	c := *e
	c.Hint = hint
	return &c
}

// Error is the message, and the hint behind a semicolon.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "; " + e.Hint
}

// Unwrap yields what Errorf wrapped, or nil on an Error that came over the socket.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf is the code of the first Error in err's tree, CodeFailed for any
// other error and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeFailed
}

// AsError is err as an Error. An error that wraps an Error keeps the code and
// hint of that and its own, longer text; any other gets CodeFailed. nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return e
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Code: e.Code, Message: err.Error(), cause: err}
	}
	return &Error{Code: CodeFailed, Message: err.Error(), cause: err}
}
