package ovsvxlan

import (
	"reflect"
	"testing"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// A copy of a row is equal to it and shares nothing with it, in every column.
func TestCloneRows(t *testing.T) {
	for _, row := range []model.CloneableModel{&rootRow{}, &bridgeRow{}, &portRow{}, &interfaceRow{}} {
		fill(reflect.ValueOf(row).Elem())
		into := reflect.New(reflect.TypeOf(row).Elem()).Interface()
		row.CloneModelInto(into)
		for _, c := range []model.Model{row.CloneModel(), into} {
			if !reflect.DeepEqual(c, row) {
				t.Errorf("a copy of %+v is %+v", row, c)
			}
			was, is := reflect.ValueOf(row).Elem(), reflect.ValueOf(c).Elem()
			for i := range was.NumField() {
				switch was.Field(i).Kind() {
				case reflect.Slice, reflect.Map, reflect.Pointer:
					if was.Field(i).Pointer() == is.Field(i).Pointer() {
						t.Errorf("%T: the copy shares column %s", row, was.Type().Field(i).Name)
					}
				default: // a copy by value
				}
			}
		}
	}
}

// fill gives every field of a struct something to share.
func fill(row reflect.Value) {
	for _, f := range row.Fields() {
		switch f.Kind() {
		case reflect.String:
			f.SetString("text")
		case reflect.Int:
			f.SetInt(7)
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Map:
			f.Set(reflect.MakeMap(f.Type()))
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		default: // no column has another
		}
	}
}
