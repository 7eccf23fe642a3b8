package drivers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// Options is a driver's settings for one network: a struct whose zero value means defaults, passed to
// libcnm.WithDriverOptions. DriverName must equal the Info.Name of the driver that reads it.
type Options interface {
	DriverName() string
}

// EncodeOptions turns a driver's options into what Network.Options carries.
func EncodeOptions(o Options) (json.RawMessage, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("options of driver %s: %w: %w", o.DriverName(), err, ErrInvalid)
	}
	return raw, nil
}

// DecodeOptions reads Network.Options strictly: an unknown key, a wrong type and trailing data are ErrInvalid, and the
// text names the key. Nil gives the zero value.
func DecodeOptions[T Options](raw json.RawMessage) (T, error) {
	var o T
	if len(raw) == 0 {
		return o, nil
	}
	name := o.DriverName()
	if reflect.TypeFor[T]().Kind() != reflect.Struct {
		return o, fmt.Errorf("options of driver %s: %T is not a struct: %w", name, o, ErrInvalid)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, fmt.Errorf("options of driver %s: %w: %w", name, err, ErrInvalid)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return o, fmt.Errorf("options of driver %s: data after the object: %w", name, ErrInvalid)
	}
	return o, nil
}
