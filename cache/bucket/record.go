package bucket

import (
	"encoding/json"
	"errors"
	"fmt"

	"k6x"
)

// maxRecord bounds an encoded record, in bytes.
const maxRecord = 16 << 20

// encodeRecord returns the record of an artifact as indented JSON, and as it will be when it is read back.
func encodeRecord(artifact k6x.Artifact) ([]byte, k6x.Artifact, error) {
	data, err := json.MarshalIndent(artifact, "", "  ")
	if err != nil {
		return nil, k6x.Artifact{}, fmt.Errorf("encode the record: %w", err)
	}
	data = append(data, '\n')
	if len(data) > maxRecord {
		return nil, k6x.Artifact{}, fmt.Errorf("the record is larger than %d bytes", maxRecord)
	}
	artifact, err = decodeRecord(data)
	return data, artifact, err
}

// decodeRecord reads a record and checks what a response is made of.
func decodeRecord(data []byte) (k6x.Artifact, error) {
	var artifact k6x.Artifact
	if err := json.Unmarshal(data, &artifact); err != nil {
		return k6x.Artifact{}, fmt.Errorf("read the record: %w", err)
	}
	if err := k6x.CheckKey(artifact.Digest); err != nil {
		return k6x.Artifact{}, errors.New("the record has no valid digest")
	}
	if artifact.Size <= 0 || artifact.Stored.IsZero() {
		return k6x.Artifact{}, errors.New("the record has no size or no time")
	}
	if _, err := k6x.ParsePlatform(artifact.Recipe.Platform.String()); err != nil {
		return k6x.Artifact{}, errors.New("the record has no valid platform")
	}
	return artifact, nil
}
