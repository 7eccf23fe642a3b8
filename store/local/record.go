package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/libcnm/libcnm/store"
)

// bbolt's pages carry no checksum, so every value does: CRC-32C of key and payload, then the payload.
const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, payload)
}

// seal returns what is stored for payload at key.
func seal(key, payload []byte) []byte {
	raw := make([]byte, sumSize, sumSize+len(payload))
	binary.BigEndian.PutUint32(raw, checksum(key, payload))
	return append(raw, payload...)
}

// unseal returns the payload in raw, not copied, or an error wrapping ErrDamaged.
func unseal(key, raw []byte) ([]byte, error) {
	if len(raw) < sumSize || binary.BigEndian.Uint32(raw) != checksum(key, raw[sumSize:]) {
		return nil, fmt.Errorf("value at %q has a wrong checksum: %w", key, ErrDamaged)
	}
	return raw[sumSize:], nil
}

// A record's payload is its revision and the value.
func encodeRecord(key []byte, rev store.Rev, value []byte) []byte {
	return seal(key, append(binary.BigEndian.AppendUint64(nil, uint64(rev)), value...))
}

// decodeRecord returns a copy of the record in raw.
func decodeRecord(key, raw []byte) (store.Record, error) {
	payload, err := unseal(key, raw)
	if err != nil {
		return store.Record{}, err
	}
	if len(payload) < 8 {
		return store.Record{}, fmt.Errorf("record %q is %d bytes: %w", key, len(payload), ErrDamaged)
	}
	rev := store.Rev(binary.BigEndian.Uint64(payload))
	return store.Record{Key: string(key), Value: bytes.Clone(payload[8:]), Rev: rev}, nil
}

// state is what is true of the whole store. The counts show that no record got lost without a trace.
type state struct {
	rev     store.Rev
	records uint64
	leased  uint64
}

func (s state) encode(key []byte) []byte {
	payload := binary.BigEndian.AppendUint64(nil, uint64(s.rev))
	payload = binary.BigEndian.AppendUint64(payload, s.records)
	return seal(key, binary.BigEndian.AppendUint64(payload, s.leased))
}

func decodeState(key, raw []byte) (state, error) {
	payload, err := unseal(key, raw)
	if err != nil {
		return state{}, err
	}
	if len(payload) != 24 {
		return state{}, errors.New("state has a wrong size")
	}
	return state{
		rev:     store.Rev(binary.BigEndian.Uint64(payload)),
		records: binary.BigEndian.Uint64(payload[8:]),
		leased:  binary.BigEndian.Uint64(payload[16:]),
	}, nil
}

func encodeUint(key []byte, n uint64) []byte {
	return seal(key, binary.BigEndian.AppendUint64(nil, n))
}

func decodeUint(key, raw []byte) (uint64, error) {
	payload, err := unseal(key, raw)
	if err != nil {
		return 0, err
	}
	if len(payload) != 8 {
		return 0, fmt.Errorf("number at %q is %d bytes: %w", key, len(payload), ErrDamaged)
	}
	return binary.BigEndian.Uint64(payload), nil
}
