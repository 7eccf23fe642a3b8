package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/internal/run"
)

// tokenEnv marks the demonstration's processes, so that they can be told from all others.
const tokenEnv = "CNM_DEMO"

// watchMachine looks at the machine before the demonstration and says afterwards what is left of it. It compares the
// namespaces that the command was started in; those that it makes have no name and end with its last process.
func watchMachine() (after func() error, err error) {
	token := tokenEnv + "=" + rand.Text()
	name, value, _ := strings.Cut(token, "=")
	if err := os.Setenv(name, value); err != nil {
		return nil, err
	}
	// Where root's PATH lacks it, iptables-save is here all the same.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return nil, err
	}
	before, err := machine()
	if err != nil {
		return nil, fmt.Errorf("look at the machine: %w", err)
	}
	return func() error {
		now, err := machine()
		if err != nil {
			return fmt.Errorf("look at the machine: %w", err)
		}
		left := append(leftBehind(before, now), processesWith(token)...)
		if len(left) > 0 {
			return fmt.Errorf("left on the machine: %s", strings.Join(left, ", "))
		}
		_, err = fmt.Fprintln(os.Stdout, "nothing of it is left on this machine: no process, link, mount, namespace or rule")
		return err
	}, nil
}

// machine lists the links, mounts, named namespaces and, for root, rules.
func machine() ([]string, error) {
	var list []string
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		list = append(list, "link "+l.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			list = append(list, "mount "+fields[4])
		}
	}
	names, err := filepath.Glob("/run/netns/*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		list = append(list, "namespace "+name)
	}
	if os.Geteuid() != 0 {
		return list, nil
	}
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		saved, err := run.Output(context.Background(), nil, program)
		if err != nil {
			return nil, err
		}
		for _, rule := range ourRules(string(saved)) {
			list = append(list, program+" "+rule)
		}
	}
	return list, nil
}

// names are parts of what libcnm, the rig and Open vSwitch call their things. Something else that appeared meanwhile is
// other people's.
var names = []string{"cnm", "CNM-", "rig", "ovs", "br-phy", "uplink", "under0"}

// leftBehind is what has appeared and may be the demonstration's.
func leftBehind(before, now []string) []string {
	var left []string
	for _, thing := range now {
		ours := slices.ContainsFunc(names, func(name string) bool { return strings.Contains(thing, name) })
		if ours && !slices.Contains(before, thing) {
			left = append(left, thing)
		}
	}
	return left
}

// processesWith names the processes whose environment has the token.
func processesWith(token string) []string {
	var list []string
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return []string{err.Error()}
	}
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil {
			continue // another user's, or it has just ended
		}
		if slices.Contains(strings.Split(string(environ), "\x00"), token) {
			list = append(list, "process "+filepath.Base(filepath.Dir(file)))
		}
	}
	return list
}
