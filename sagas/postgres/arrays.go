package postgres

import "github.com/jackc/pgx/v5/pgtype"

// array is an array whose elements pgx is given by their places: to give it their
// values would allocate each of them. *V is what encodes a V.
type array[V any] []V

// Dimensions implements pgtype.ArrayGetter.
func (a array[V]) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(a)), LowerBound: 1}}
}

// Index implements pgtype.ArrayGetter.
func (a array[V]) Index(i int) any { return &a[i] }

// IndexType implements pgtype.ArrayGetter.
func (a array[V]) IndexType() any { return new(V) }

// blob is null if it is nil.
type blob []byte

// BytesValue implements pgtype.BytesValuer.
func (b *blob) BytesValue() ([]byte, error) { return *b, nil }

// word is a text.
type word string

// TextValue implements pgtype.TextValuer.
func (w *word) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: string(*w), Valid: true}, nil
}
