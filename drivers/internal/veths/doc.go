// Package veths is the host's side of drivers that connect endpoints by veth pairs: how the pairs are named, marked, made,
// looked at and taken away, what an endpoint is told of its network, and differences in the words of the driver contract.
// What the host's ends are connected to is the driver's own affair.
//
//	host, err := veths.Open("bridge")
//	err = host.Ensure(ctx, veths.Port{Network: n, Endpoint: ep, Link: link.Veth{Master: "cnmb0123456789", MTU: 1500}})
//	drift, err := host.Check(ctx, port, listed) // by host.List
//	err = host.Remove(ctx, n.ID, ep.ID)
//	err = host.DeleteStrays(ctx, wanted) // links of ours that nobody wants
//
// It keeps no state; the kernel is asked each time.
package veths
