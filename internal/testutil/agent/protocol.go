package agent

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// request is one line to the agent: a call, or the end of the caller's interest in one.
type request struct {
	ID     uint64          `json:"id"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Cancel bool            `json:"cancel,omitempty"`
}

type response struct {
	ID     uint64          `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *wireError      `json:"error,omitempty"`
}

// wireError is an error and the classes it belonged to before it became text.
type wireError struct {
	Class []string `json:"class,omitempty"`
	Text  string   `json:"text"`
}

var classes = []error{
	errdefs.ErrNotFound, errdefs.ErrExists, errdefs.ErrInUse, errdefs.ErrInvalid, errdefs.ErrExhausted,
	errdefs.ErrConflict, errdefs.ErrUnsupported, errdefs.ErrUnavailable, errdefs.ErrClosed,
}

func encodeError(err error) *wireError {
	w := &wireError{Text: err.Error()}
	for _, class := range classes {
		if errors.Is(err, class) {
			w.Class = append(w.Class, class.Error())
		}
	}
	return w
}

// Error is what a handler returned, on the other side of the pipe: the same text, and errors.Is finds the same classes.
type Error struct {
	Method string
	Text   string
	class  []error
}

func (e *Error) Error() string   { return fmt.Sprintf("agent: %s: %s", e.Method, e.Text) }
func (e *Error) Unwrap() []error { return e.class }

func (w *wireError) decode(method string) *Error {
	e := &Error{Method: method, Text: w.Text}
	for _, name := range w.Class {
		for _, class := range classes {
			if class.Error() == name {
				e.class = append(e.class, class)
			}
		}
	}
	return e
}
