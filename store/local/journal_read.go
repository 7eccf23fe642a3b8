package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/libcnm/libcnm/store"
)

// errJournal is wrapped for a journal that is not as it was written.
var errJournal = errors.New("damaged journal")

// journalScan is what a journal is like.
type journalScan struct {
	rev      store.Rev // reached
	snapshot int64     // bytes of what it began with
	size     int64     // bytes of whole lines
	torn     bool      // more follows: a line that a crash cut short
}

// scanJournal verifies the journal and calls each, unless that is nil, with what a line is about.
func scanJournal(path string, each func([]journalRecord) error) (scan journalScan, err error) {
	f, err := os.Open(path)
	if err != nil {
		return scan, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lines := bufio.NewReaderSize(f, 1<<16)
	s := scanner{each: each}
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			s.torn = len(line) > 0
			return s.end()
		}
		if err != nil {
			return scan, err
		}
		_, peek := lines.Peek(1)
		if err := s.line(line[:len(line)-1], errors.Is(peek, io.EOF)); err != nil {
			return scan, err
		}
		if s.torn {
			return s.end()
		}
		s.size += int64(len(line))
		if s.pending == 0 && s.snapshot == 0 {
			s.snapshot = s.size
		}
	}
}

type scanner struct {
	journalScan
	each    func([]journalRecord) error
	begun   bool // the first line has been read
	pending int  // records of the beginning still to come
}

func (s *scanner) end() (journalScan, error) {
	if !s.begun || s.pending > 0 {
		return s.journalScan, fmt.Errorf("it is cut short: %w", errJournal)
	}
	return s.journalScan, nil
}

func (s *scanner) line(line []byte, last bool) error {
	rev, n, text, ok := parseLine(line)
	if !ok {
		// The last line may be whole in length only: a file grows before what is written to it is there.
		if s.torn = last && s.begun && s.pending == 0; s.torn {
			return nil
		}
		return fmt.Errorf("line at byte %d has a wrong checksum: %w", s.size, errJournal)
	}
	if !s.begun {
		var head journalHead
		if err := json.Unmarshal(text, &head); err != nil || head.Schema != journalSchema {
			return fmt.Errorf("it begins with %.40q, want schema %d: %w", text, journalSchema, errJournal)
		}
		s.begun, s.rev, s.pending = true, rev, n
		return nil
	}
	if s.pending > 0 && (rev != s.rev || n > s.pending) || s.pending == 0 && rev <= s.rev {
		return fmt.Errorf("line at byte %d has revision %d after %d: %w", s.size, rev, s.rev, errJournal)
	}
	s.pending = max(0, s.pending-n)
	s.rev = rev
	if s.each == nil {
		return nil
	}
	var list []journalRecord
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("line at byte %d: %w: %w", s.size, err, errJournal)
	}
	return s.each(list)
}
