package ovsvxlan

// Options are the driver's settings for one network. There are none yet: any key is refused.
type Options struct{}

// DriverName implements drivers.Options.
func (Options) DriverName() string { return Name }
