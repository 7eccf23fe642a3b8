package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine names where the figures are from.
type machine struct {
	Date       time.Time `json:"date"`
	CPU        string    `json:"cpu"`
	CPUs       int       `json:"cpus"`
	Memory     int64     `json:"memory_bytes"`
	Kernel     string    `json:"kernel"`
	Go         string    `json:"go"`
	FileSystem string    `json:"file_system"`
	LoadBefore string    `json:"load_before"` // what else ran: averages over 1, 5 and 15 minutes
}

func thisMachine(dataDir string) (machine, error) {
	m := machine{Date: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Go: runtime.Version()}
	var err error
	if m.FileSystem, err = fileSystem(dataDir); err != nil {
		return m, err
	}
	if m.CPU, err = field("/proc/cpuinfo", "model name"); err != nil {
		return m, err
	}
	memory, err := field("/proc/meminfo", "MemTotal")
	if err != nil {
		return m, err
	}
	kb, err := strconv.ParseInt(strings.TrimSuffix(memory, " kB"), 10, 64)
	if err != nil {
		return m, fmt.Errorf("read memory size: %w", err)
	}
	m.Memory = kb << 10
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return m, err
	}
	m.LoadBefore = strings.Join(strings.Fields(string(load))[:3], " ")
	return m, nil
}

// field returns the first value of a name in a file of "name: value" lines.
func field(path, name string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "unknown", lines.Err()
}

// tmpfs is the file system that has no disk.
const tmpfs = "tmpfs"

// fileSystem names what kind of file system dir is on, as far as it matters here.
func fileSystem(dir string) (string, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "", fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	switch st.Type { // magic numbers of statfs(2)
	case 0xef53:
		return "ext4", nil
	case 0x58465342:
		return "xfs", nil
	case 0x9123683e:
		return "btrfs", nil
	case 0x01021994:
		return tmpfs, nil
	}
	return fmt.Sprintf("type %#x", st.Type), nil
}
