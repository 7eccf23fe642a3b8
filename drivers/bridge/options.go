package bridge

// Options are the driver's settings for one network. The zero value is what most networks want.
type Options struct {
	// DisableMasquerade lets traffic leave with the sandbox's own address, for a host whose neighbours have a
	// route back.
	DisableMasquerade bool `json:"disable_masquerade,omitempty"`
}

// DriverName implements drivers.Options.
func (Options) DriverName() string { return Name }
