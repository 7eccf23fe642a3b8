package local

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// Damage that is consistent enough to open, and would only show when bbolt writes or walks.
func TestVerifyImage(t *testing.T) {
	image, _ := sample(t)
	meta, err := readMeta(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	pageAt := func(data []byte, id uint64) []byte { return data[int64(id)*meta.pageSize:][:meta.pageSize] }
	branch := uint64(0)
	for id := range meta.pages {
		if p := pageAt(image, id); native.Uint64(p) == id && native.Uint16(p[8:]) == branchPage && !isFree(t, image, id) {
			branch = id
		}
	}
	if branch == 0 {
		t.Fatal("the sample has no branch page")
	}
	for _, c := range []struct {
		name   string
		damage func(data []byte)
		says   string // "": nothing is wrong
	}{
		{"nothing", func([]byte) {}, ""},
		{"page in use is free", func(data []byte) {
			native.PutUint64(pageAt(data, meta.freelist)[pageHeaderSize:], meta.root)
		}, "used twice"},
		{"free page does not exist", func(data []byte) {
			native.PutUint64(pageAt(data, meta.freelist)[pageHeaderSize:], meta.pages)
		}, "does not exist"},
		{"list of free pages is too long", func(data []byte) {
			native.PutUint16(pageAt(data, meta.freelist)[10:], 0xFFFE)
		}, "longer than its page"},
		{"branch leads to itself", func(data []byte) {
			native.PutUint64(pageAt(data, branch)[pageHeaderSize+8:], branch)
		}, "used twice"},
		{"branch leads nowhere", func(data []byte) {
			native.PutUint64(pageAt(data, branch)[pageHeaderSize+8:], meta.pages+1)
		}, "does not exist"},
		{"branch has no children", func(data []byte) { native.PutUint16(pageAt(data, branch)[10:], 0) }, "is empty"},
		{"children are swapped", func(data []byte) {
			first, second := pageAt(data, branch)[pageHeaderSize+8:], pageAt(data, branch)[pageHeaderSize+elementSize+8:]
			a, b := native.Uint64(first), native.Uint64(second)
			native.PutUint64(first, b)
			native.PutUint64(second, a)
		}, "out of order"},
		{"more elements than fit", func(data []byte) { native.PutUint16(pageAt(data, branch)[10:], 0xFFFF) }, "page"},
		{"element is outside the page", func(data []byte) {
			native.PutUint32(pageAt(data, branch)[pageHeaderSize:], uint32(meta.pageSize))
		}, "outside it"},
		{"overflow ends behind the file", func(data []byte) { native.PutUint32(pageAt(data, branch)[12:], 1<<30) }, "wrong header"},
		{"page is of another kind", func(data []byte) { native.PutUint16(pageAt(data, branch)[8:], metaPage) }, "neither branch nor leaf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := bytes.Clone(image)
			c.damage(data)
			err := verifyImage(bytes.NewReader(data), int64(len(data)))
			if (c.says == "") != (err == nil) || err != nil && (!errors.Is(err, errCorrupt) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func isFree(t *testing.T, data []byte, id uint64) bool {
	t.Helper()
	img, err := readMeta(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if err := img.readFreelist(); err != nil {
		t.Fatal(err)
	}
	return img.owned[id]
}
