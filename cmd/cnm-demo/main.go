// Command cnm-demo shows on three hosts, made of namespaces of this machine, what libcnm does; see package demo.
package main

import (
	"os"

	"github.com/libcnm/libcnm/internal/demo"
)

func main() { os.Exit(demo.Main()) }
