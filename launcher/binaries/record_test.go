package binaries

import (
	"bytes"
	"testing"
	"time"
)

func FuzzRecord(f *testing.F) {
	m := metaOf(f, linux, one)
	good, err := record{Meta: m, Digest: sumOf("x"), Size: 1, Added: start, Stamp: stamp{1, 2}}.encode([]byte("secret"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(bytes.Replace(good, []byte("v1.8.1"), []byte(">=1"), 1))
	f.Add(bytes.Replace(good, []byte("linux"), []byte("../x"), 1))
	f.Add([]byte(`{"platform":{"os":"linux","arch":"amd64"},"versions":{"k6":"v1.0.0"},"digest":"","size":-1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			return
		}
		if !homeSyntax.MatchString("k6-" + idOf(r.Meta)) {
			t.Errorf("id %q", idOf(r.Meta))
		}
		if r.Platform.Executable() != "k6" && r.Platform.Executable() != "k6.exe" {
			t.Errorf("file name %q", r.Platform.Executable())
		}
		encoded, err := r.encode([]byte("secret"))
		if err != nil {
			return // too large, or a time of a year that cannot be written
		}
		again, err := parseRecord(encoded)
		if err != nil || !again.sealed([]byte("secret")) || again.sealed([]byte("another")) || idOf(again.Meta) != idOf(r.Meta) {
			t.Errorf("%v\n%s", err, encoded)
		}
		if twice, err := again.encode([]byte("secret")); err != nil || !bytes.Equal(encoded, twice) {
			t.Errorf("%v\n%s\n%s", err, encoded, twice)
		}
	})
}

func TestASealIsOfTheWholeClaim(t *testing.T) {
	r := record{Meta: metaOf(t, linux, one), Digest: sumOf("x"), Size: 1, Added: time.Now()}
	r.Seal = r.seal([]byte("secret"))
	for name, change := range map[string]func(*record){
		"digest":   func(r *record) { r.Digest = sumOf("y") },
		"size":     func(r *record) { r.Size++ },
		"versions": func(r *record) { r.Versions = map[string]string{"k6": "v1.0.0"} },
		"platform": func(r *record) { r.Platform.Arch = "arm64" },
		"no seal":  func(r *record) { r.Seal = "" },
	} {
		changed := r
		change(&changed)
		if changed.sealed([]byte("secret")) {
			t.Errorf("%s was changed, and the seal still fits", name)
		}
	}
	if !r.sealed([]byte("secret")) || !r.sealed(nil) {
		t.Error("the seal does not fit")
	}
}
