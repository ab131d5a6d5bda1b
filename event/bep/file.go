package bep

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"k6x/event/bep/pb"
)

// maxFile is how much of a file is read: an invocation prints less.
const maxFile = 256 << 20

// Format says how events are written to a file.
type Format func(e *pb.BuildEvent) ([]byte, error)

// JSON is the format of a file with an object in each line.
func JSON(e *pb.BuildEvent) ([]byte, error) {
	text, err := protojson.Marshal(e)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil { // protojson puts spaces as it likes
		return nil, err
	}
	line.WriteByte('\n')
	return line.Bytes(), nil
}

// Binary is the format of a file in which each message stands behind its length, a varint.
func Binary(e *pb.BuildEvent) ([]byte, error) {
	var b bytes.Buffer
	_, err := protodelim.MarshalOptions{MarshalOptions: proto.MarshalOptions{Deterministic: true}}.MarshalTo(&b, e)
	return b.Bytes(), err
}

// Text is the format of a file for people.
func Text(e *pb.BuildEvent) ([]byte, error) {
	text, err := prototext.MarshalOptions{Multiline: true}.Marshal(e)
	return fmt.Appendf(nil, "event {\n%s\n}\n\n", bytes.TrimRight(text, "\n")), err
}

// File is a file of events, of one stream. It is not safe for concurrent use.
type File struct {
	file   *os.File
	format Format
	err    error // the first one
}

// Create makes a file of events, which takes the place of one that is there.
func Create(name string, format Format) (*File, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return &File{file: file, format: format}, nil
}

// Publish is the [Sink] of the file. An event is one write, so that a process that is killed leaves whole events, but for the last.
// After an error nothing is written.
func (f *File) Publish(e *pb.BuildEvent) {
	if f.err != nil {
		return
	}
	record, err := f.format(e)
	if err == nil {
		_, err = f.file.Write(record)
	}
	f.err = err
}

// Close closes the file, and returns the first error that there was.
func (f *File) Close() error {
	return errors.Join(f.err, f.file.Close())
}

// Mend ends the stream of a file in JSON whose process was killed: a line that was cut is removed, and what was announced
// comes as aborted. A file whose stream has ended stays as it is.
func Mend(name string) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	events, whole, err := read(file)
	if err == nil {
		if err = file.Truncate(whole); err == nil {
			_, err = file.Seek(whole, io.SeekStart)
		}
	}
	f := &File{file: file, format: JSON, err: err}
	if err == nil {
		Abort(events, f.Publish)
	}
	return f.Close()
}

// ReadJSON returns the events of a file in JSON. A line that was cut is left out, and so are fields that are not known.
func ReadJSON(r io.Reader) ([]*pb.BuildEvent, error) {
	events, _, err := read(r)
	return events, err
}

// read returns events, and the length of their lines.
func read(r io.Reader) (events []*pb.BuildEvent, whole int64, err error) {
	lines := bufio.NewReader(io.LimitReader(r, maxFile))
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return events, whole, nil
		}
		if err != nil {
			return nil, 0, err
		}
		e := new(pb.BuildEvent)
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, e); err != nil {
			return nil, 0, fmt.Errorf("event %d: %w", len(events)+1, err)
		}
		events, whole = append(events, e), whole+int64(len(line))
	}
}
