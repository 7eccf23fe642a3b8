// Package agent lets a test drive a process that lives elsewhere: in a host's namespaces, to be killed and started again.
// One JSON value per line in each direction, many calls in flight, errors that keep their class (errdefs).
//
// The process serves:
//
//	err := agent.Serve(ctx, os.Stdin, os.Stdout, map[string]agent.Handler{
//		"add": agent.Handle(func(ctx context.Context, p Pair) (int, error) { return p.A + p.B, nil }),
//	})
//
// and the test, which holds the other ends of its pipes, calls:
//
//	client := agent.NewClient(stdin, stdout)
//	err := client.Call(ctx, "add", Pair{A: 1, B: 2}, &sum)
package agent
