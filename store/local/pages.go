package local

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The format of a bbolt file, version 2, as far as its structure goes: pages of a fixed size; on the first two a meta
// page each, of which the valid one with the higher transaction counts; a tree of branch and leaf pages for every bucket;
// and a list of the free pages. Numbers are in the machine's byte order.
const (
	magic          = 0xED0CDAED
	formatVersion  = 2
	pageHeaderSize = 16 // id u64, flags u16, count u16, overflow u32
	elementSize    = 16
	metaSize       = 64

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10

	bucketElement = 0x01
	bucketHeader  = 16 // root page u64, sequence u64

	noFreelist = ^uint64(0)
	maxDepth   = 64 // far more than a tree of 2^48 pages needs
)

var (
	errCorrupt = errors.New("corrupt page")
	native     = binary.NativeEndian
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errCorrupt)
}

// image is a bbolt file while it is verified.
type image struct {
	r        io.ReaderAt
	pageSize int64
	root     uint64
	freelist uint64
	pages    uint64 // how many there are; higher numbers are not in use
	txid     uint64
	owned    map[uint64]bool // pages seen so far, in use or free
}

// readMeta returns what the newer meta page says. Both must be there, of two transactions that follow one another: with
// the newer one damaged, bbolt would open the file without the last transaction and tell nobody. A crash does not do that.
// A meta page is less than a disk's sector, which is written whole or not at all.
func readMeta(r io.ReaderAt, size int64) (*image, error) {
	metas, err := findMetas(r, size)
	if err != nil {
		return nil, err
	}
	older, newer := metas[0], metas[1]
	switch {
	case older == nil && newer == nil:
		return nil, corrupt("neither meta page is valid")
	case older == nil || newer == nil:
		return nil, corrupt("one meta page is not valid, the last transaction may be lost")
	case older.txid > newer.txid:
		older, newer = newer, older
	}
	switch {
	case newer.txid-older.txid != 1 || newer.pageSize != older.pageSize:
		return nil, corrupt("meta pages of transactions %d and %d do not belong together", older.txid, newer.txid)
	case newer.pages > uint64(size/newer.pageSize):
		return nil, corrupt("file of %d bytes lacks some of its %d pages of %d bytes", size, newer.pages, newer.pageSize)
	}
	return newer, nil
}

// findMetas returns what each meta page says, nil for one that is not valid. The second one's place is the page size,
// which only a valid one tells.
func findMetas(r io.ReaderAt, size int64) (metas [2]*image, err error) {
	if metas[0], err = parseMeta(r, 0); err != nil {
		return metas, err
	}
	if metas[0] != nil {
		metas[1], err = parseMeta(r, metas[0].pageSize)
		return metas, err
	}
	for offset := int64(1 << 10); offset <= 1<<24 && offset < size; offset *= 2 {
		img, err := parseMeta(r, offset)
		if err != nil {
			return metas, err
		}
		if img != nil && img.pageSize == offset {
			metas[1] = img
			return metas, nil
		}
	}
	return metas, nil
}

// parseMeta returns what the meta page at offset says, or nil if it is not valid.
func parseMeta(r io.ReaderAt, offset int64) (*image, error) {
	buf := make([]byte, pageHeaderSize+metaSize)
	if _, err := r.ReadAt(buf, offset); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	meta := buf[pageHeaderSize:]
	sum := fnv.New64a()
	sum.Write(meta[:56]) // a hash's Write returns no error
	pageSize := int64(native.Uint32(meta[8:]))
	if native.Uint32(meta) != magic || native.Uint32(meta[4:]) != formatVersion || native.Uint64(meta[56:]) != sum.Sum64() ||
		pageSize < 1<<10 || pageSize&(pageSize-1) != 0 {
		return nil, nil
	}
	return &image{
		r:        r,
		pageSize: pageSize,
		root:     native.Uint64(meta[16:]),
		freelist: native.Uint64(meta[32:]),
		pages:    native.Uint64(meta[40:]),
		txid:     native.Uint64(meta[48:]),
		owned:    map[uint64]bool{},
	}, nil
}

// page is one page with its overflow.
type page struct {
	id    uint64
	flags uint16
	count int
	data  []byte // with the header
}

// read returns a page and notes that it is in use, which no page can be twice.
func (img *image) read(id uint64) (page, error) {
	if id < 2 || id >= img.pages {
		return page{}, corrupt("page %d of %d does not exist", id, img.pages)
	}
	header := make([]byte, pageHeaderSize)
	if _, err := img.r.ReadAt(header, int64(id)*img.pageSize); err != nil {
		return page{}, fmt.Errorf("read page %d: %w", id, err)
	}
	overflow := uint64(native.Uint32(header[12:]))
	if native.Uint64(header) != id || overflow >= img.pages-id {
		return page{}, corrupt("page %d has a wrong header", id)
	}
	for i := id; i <= id+overflow; i++ {
		if err := img.own(i); err != nil {
			return page{}, err
		}
	}
	data := make([]byte, int64(overflow+1)*img.pageSize)
	if _, err := img.r.ReadAt(data, int64(id)*img.pageSize); err != nil {
		return page{}, fmt.Errorf("read page %d: %w", id, err)
	}
	return parsePage(id, data), nil
}

func parsePage(id uint64, data []byte) page {
	return page{id: id, flags: native.Uint16(data[8:]), count: int(native.Uint16(data[10:])), data: data}
}

func (img *image) own(id uint64) error {
	if img.owned[id] {
		return corrupt("page %d is used twice", id)
	}
	img.owned[id] = true
	return nil
}

// readFreelist notes the free pages as taken, so that none of them can be part of a tree.
func (img *image) readFreelist() error {
	if img.freelist == noFreelist {
		return nil
	}
	p, err := img.read(img.freelist)
	if err != nil {
		return err
	}
	if p.flags != freelistPage {
		return corrupt("page %d is not the list of free pages", p.id)
	}
	ids, count := p.data[pageHeaderSize:], uint64(p.count)
	if count == 0xFFFF { // does not fit the header: it comes first
		count, ids = native.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return corrupt("list of %d free pages is longer than its page %d", count, p.id)
	}
	for i := range count {
		id := native.Uint64(ids[8*i:])
		if id < 2 || id >= img.pages {
			return corrupt("free page %d of %d does not exist", id, img.pages)
		}
		if err := img.own(id); err != nil {
			return err
		}
	}
	return nil
}

// verifyTree checks the pages under id: keys ascend from low (inclusive) to high (exclusive; nil: no limit).
func (img *image) verifyTree(id uint64, low, high []byte, depth int) error {
	p, err := img.read(id)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return corrupt("page %d is %d levels deep", id, depth)
	}
	switch p.flags {
	case leafPage:
		return img.verifyLeaf(p, low, high, depth)
	case branchPage:
		return img.verifyBranch(p, low, high, depth)
	default:
		return corrupt("page %d is neither branch nor leaf", id)
	}
}

func (img *image) verifyBranch(p page, low, high []byte, depth int) error {
	if p.count == 0 {
		return corrupt("branch page %d is empty", p.id)
	}
	keys := make([][]byte, p.count)
	children := make([]uint64, p.count)
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			return err
		}
		children[i] = native.Uint64(e[8:])
		if keys[i], _, err = p.content(i, native.Uint32(e), native.Uint32(e[4:]), 0); err != nil {
			return err
		}
	}
	if err := p.checkOrder(keys, low, high); err != nil {
		return err
	}
	for i, child := range children {
		end := high
		if i+1 < p.count {
			end = keys[i+1]
		}
		if err := img.verifyTree(child, keys[i], end, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (img *image) verifyLeaf(p page, low, high []byte, depth int) error {
	keys := make([][]byte, p.count)
	for i := range p.count {
		e, err := p.element(i)
		if err != nil {
			return err
		}
		var value []byte
		keys[i], value, err = p.content(i, native.Uint32(e[4:]), native.Uint32(e[8:]), native.Uint32(e[12:]))
		if err != nil {
			return err
		}
		switch native.Uint32(e) {
		case 0:
		case bucketElement:
			if err := img.verifyBucket(p.id, value, depth); err != nil {
				return err
			}
		default:
			return corrupt("element %d of page %d has wrong flags", i, p.id)
		}
	}
	return p.checkOrder(keys, low, high)
}

// verifyBucket checks the bucket whose header is value. A small one has its only page right behind the header.
func (img *image) verifyBucket(id uint64, value []byte, depth int) error {
	if len(value) < bucketHeader {
		return corrupt("bucket on page %d is cut short", id)
	}
	if root := native.Uint64(value); root != 0 {
		return img.verifyTree(root, nil, nil, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeaderSize {
		return corrupt("bucket inside page %d is cut short", id)
	}
	p := parsePage(id, inline)
	if p.flags != leafPage || depth > maxDepth {
		return corrupt("bucket inside page %d is not a leaf", id)
	}
	return img.verifyLeaf(p, nil, nil, depth+1)
}

// element returns the i-th element, which describes a key.
func (p page) element(i int) ([]byte, error) {
	at := pageHeaderSize + i*elementSize
	if at+elementSize > len(p.data) {
		return nil, corrupt("page %d is too short for its %d elements", p.id, p.count)
	}
	return p.data[at : at+elementSize], nil
}

// content returns the i-th key and value, which are pos bytes behind their element.
func (p page) content(i int, pos, keySize, valueSize uint32) (key, value []byte, err error) {
	at := int64(pageHeaderSize+i*elementSize) + int64(pos)
	mid := at + int64(keySize)
	end := mid + int64(valueSize)
	if keySize == 0 || end > int64(len(p.data)) {
		return nil, nil, corrupt("element %d of page %d is outside it", i, p.id)
	}
	return p.data[at:mid], p.data[mid:end], nil
}

// checkOrder checks that keys ascend from low (inclusive) to high (exclusive).
func (p page) checkOrder(keys [][]byte, low, high []byte) error {
	for i, key := range keys {
		if i == 0 && bytes.Compare(key, low) < 0 || i > 0 && bytes.Compare(key, keys[i-1]) <= 0 ||
			high != nil && bytes.Compare(key, high) >= 0 {
			return corrupt("key %d of page %d is out of order", i, p.id)
		}
	}
	return nil
}
