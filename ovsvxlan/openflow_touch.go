package ovsvxlan

import (
	"encoding/binary"
	"fmt"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// OpenFlow 1.5, sections 7.2.3 and 7.3.4.3: what changes the instructions of a flow that is there.
const (
	ofFlowMod      = 14
	ofModifyStrict = 2
	ofMatchFields  = 1
)

// touch gives a flow the instructions that it has, none. The switch takes that for a change, after which it judges the flows of
// its datapath anew, and keeps what the flow has counted.
func (w *ofWatch) touch() error {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("bridge at %s: no connection: %w", w.socket, errdefs.ErrUnavailable)
	}
	body := make([]byte, 16) // cookie and its mask: any
	body = append(body, byte(TableClassify), ofModifyStrict)
	body = binary.BigEndian.AppendUint32(body, 0) // timeouts: none
	body = binary.BigEndian.AppendUint16(body, miss)
	body = append(body, 0xff, 0xff, 0xff, 0xff)                         // buffer: none
	body = append(body, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // port and group sent to: any
	body = binary.BigEndian.AppendUint32(body, 0)                       // flags and importance: none
	body = binary.BigEndian.AppendUint16(body, ofMatchFields)
	body = binary.BigEndian.AppendUint16(body, 4) // length of a match without fields
	body = append(body, 0, 0, 0, 0)               // up to a multiple of 8
	if err := send(conn, ofFlowMod, 9, body); err != nil {
		return fmt.Errorf("bridge at %s: %w: %w", w.socket, err, errdefs.ErrUnavailable)
	}
	return nil
}
