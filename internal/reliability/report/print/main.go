// Command print sums up the file that the reliability tests wrote; `make test-crash` runs it.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: print FILE")
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	return errors.Join(report.Print(os.Stdout, f), f.Close())
}
