package house

import "strings"

// notLibrary is what no user's process runs.
var notLibrary = []string{"cmd", "examples", "drivers/drivertest", "store/storetest", "internal/demo", "internal/nodeagent",
	"internal/reliability", "internal/testutil"}

// outside are the packages that lead to the host or to a store.
var outside = map[string]bool{
	"os":                                     true,
	"os/exec":                                true,
	"net":                                    true,
	"syscall":                                true,
	"golang.org/x/sys/unix":                  true,
	"github.com/vishvananda/netlink":         true,
	"github.com/vishvananda/netlink/nl":      true,
	"github.com/coreos/go-iptables/iptables": true,
	"github.com/ovn-kubernetes/libovsdb/client": true,
	"go.etcd.io/bbolt":                          true,
	"go.etcd.io/etcd/client/v3":                 true,
}

// doors are functions of ours, and fields that hold one, which change what they are told to, or only ask: who uses one is
// looked at, its body is not.
var doors = map[string]string{
	"run.Output":             "runs any program",
	"iptables field run":     "is run.Output, and a fake in tests",
	"ovsvxlan.flows.ofctl":   "dumps and changes",
	"ovsvxlan.control":       "gives ovs-vswitchd any command",
	"ovsvxlan.startControl":  "is control that does not wait",
	"ovsvxlan.send":          "sends the switch any message",
	"link.ethtool":           "asks and sets",
	"link.changeSocket.ask":  "sends the kernel any message",
	"link.changeSocket.dump": "the same",
	"local.openDB":           "formats an empty file, and only reads another",
}

// exempt are uses that change nothing, as "function > what it uses", with the reason.
var exempt = map[string]string{
	"iptables.detect > iptables field run":               "sets the field",
	"iptables.detect > run.Output":                       "kept in the field that is a door",
	"iptables.probe > iptables.New":                      "asks for the version",
	"iptables.tool.save > iptables field run":            "iptables-save reads",
	"link.Command > exec.CommandContext":                 "the user's program, which the user starts",
	"link.conn.askLinkMessage > link.changeSocket.ask":   "RTM_GETLINK",
	"link.conn.linkList > link.changeSocket.dump":        "the same, for all",
	"link.conn.addresses > link.changeSocket.dump":       "RTM_GETADDR",
	"link.isNetNS > unix.IoctlRetInt":                    "asks for the kind of namespace",
	"link.procfs.open > os.OpenFile":                     "creates nothing: sysctls are there or not",
	"link.procfs.open > unix.Openat":                     "the same",
	"link.txChecksum > link.ethtool":                     "asks",
	"local.open > local.openDB":                          "a file that has been verified, so that bbolt only reads it",
	"ovsvxlan.Switch.resolve > ovsvxlan.control":         "a packet to learn a MAC by",
	"ovsvxlan.flows.dump > ovsvxlan.flows.ofctl":         "dumps",
	"ovsvxlan.ofWatch.dial > net.Dialer.DialContext":     "what is sent is seen at send",
	"ovsvxlan.handshake > ovsvxlan.send":                 "says hello",
	"ovsvxlan.Switch.settle > ovsvxlan.control":          "asks for the version",
	"ovsvxlan.Switch.revalidate > ovsvxlan.startControl": "waits for what the daemon does by itself",
	"ovsvxlan.ofWatch.touch > ovsvxlan.send":             "gives a flow what it has",
	"ovsvxlan.ofWatch.serve > ovsvxlan.send":             "answers an echo request",
	"ovsvxlan.resume > ovsvxlan.send":                    "a packet on its way",
}

// harmless are the functions of the packages outside that change nothing, or nothing that outlives the process, by
// package name.
var harmless = words(map[string]string{
	"os": `Geteuid Getpid Hostname Lstat NewFile Open ReadDir ReadFile SameFile Stat
		File.Close File.Fd File.Name File.Read File.Stat File.Sync File.SyscallConn`,
	"net": `CIDRMask HardwareAddr.String Interface.Addrs Interfaces IP.Equal IPMask.Size ParseMAC
		Conn.Close Conn.SetDeadline`,
	// A lock ends with its process, and so does a thread that has entered a namespace.
	"syscall": "Flock ParseNetlinkMessage RawConn.Control RawConn.Read Statfs",
	// So do a filter of a socket and a mount that is in no directory.
	"unix": `Bind ByteSliceToString ClockGettime Close CmsgSpace FcntlInt Flock FsconfigCreate Fsmount Fsopen Fstat Fstatfs Getpid
		Gettid Ifreq.SetUint16 NewIfreq ParseSocketControlMessage Recvfrom Recvmsg Setns SetsockoptInt SetsockoptSockFprog Socket
		Timespec.Nano`,
	"netlink": `Handle.AddrList Handle.Close Handle.GetNetNsIdByFd Handle.LinkByIndex
		Handle.RouteListFiltered Handle.RuleList Link.Attrs NewHandle NewRule`,
	// Requests do nothing until they are sent.
	"nl": `NetlinkRequest.AddData NetlinkRequest.Serialize NetlinkSocket.Close NetlinkSocket.Receive NewIfAddrmsg
		NewIfInfomsg NewNetlinkRequest NewRtAttr NewRtGenMsg NewRtMsg NonZeroTerminated ParseRouteAttr
		RtAttr.AddChild RtAttr.AddRtAttr Subscribe Uint16Attr Uint32Attr ZeroTerminated`,
	"iptables": "IPTables.GetIptablesVersion Path",
	"client": `API.Get API.List API.WhereCache Client.Cache Client.Close Client.Connect Client.CurrentEndpoint
		Client.DisconnectNotify Client.Monitor Client.NewMonitor ConditionalAPI.List NewOVSDBClient WithEndpoint WithTable`,
	// What is done to a bucket is nothing until its transaction commits, which is inside Update.
	"bbolt": `Bucket.Cursor Bucket.Delete Bucket.ForEach Bucket.Get Bucket.Put Cursor.Next Cursor.Seek DB.Close DB.View
		Tx.Bucket Tx.CreateBucket`,
	// Operations do nothing until their transaction commits. A lease kept alive is what it was.
	"clientv3": `Client.Close Client.Endpoints Cmp.WithPrefix Compare CreateRevision KV.Get KV.Txn Lease.KeepAlive ModRevision
		New OpDelete OpGet OpPut Txn.Else Txn.If Txn.Then WatchResponse.Err WatchResponse.IsProgressNotify Watcher.Watch WithFragment
		WithKeysOnly WithLease WithLimit WithPrefix WithProgressNotify WithRequireLeader WithRev`,
})

func words(table map[string]string) map[string]string {
	out := map[string]string{}
	for pkg, list := range table {
		for name := range strings.FieldsSeq(list) {
			out[pkg+"."+name] = "harmless"
		}
	}
	return out
}
