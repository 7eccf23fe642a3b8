package ovsvxlan

// Commits returns how many OVSDB transactions and OpenFlow bundles the switch has sent.
func (s *Switch) Commits() (transactions, bundles uint64) {
	return s.rows.commits.Load(), s.flows.bundles.Load()
}
