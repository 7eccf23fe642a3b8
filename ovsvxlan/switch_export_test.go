package ovsvxlan

// Commits returns how many OVSDB transactions and OpenFlow bundles the switch has sent.
func (s *Switch) Commits() (transactions, bundles uint64) {
	return s.rows.commits.Load(), s.flows.bundles.Load()
}

// Forget takes a network out of the desired state and leaves the bridge as it is, as a RemoveNetwork does whose context
// ends at its last step.
func (s *Switch) Forget(network string) error { return s.forget(network) }
