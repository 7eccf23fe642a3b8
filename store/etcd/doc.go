// Package etcd is the store of a cluster: etcd, under one key prefix.
//
// A commit is one etcd transaction and a revision is etcd's. Watches survive broken connections, restarts and changes of
// leader, and resume where they were. Every call ends: with its context, or after a timeout when that has no deadline.
//
//	s, err := etcd.New(ctx, clientv3.Config{
//		Endpoints: []string{"https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379"},
//		TLS:       tlsConfig,
//	})
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//	_, err = s.Commit(ctx, []store.Guard{store.Absent("names/blue")}, store.Put("names/blue", id))
//
// New connects in the background and succeeds while etcd is away; only with a user and password it needs etcd to log in.
// Endpoints, TLS and authentication are the Config's. What the Config leaves unset is set so that a member that vanished
// without a word is noticed within seconds and one that returned is used within seconds.
//
// The package does not compact etcd's history; that is etcd's own --auto-compaction-retention.
package etcd
