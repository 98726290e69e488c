//! The macros that lay out structures, messages and lists.

/// Implements [`ListItem`](super::ListItem).
macro_rules! list_items {
    ($($type:ident $what:literal $max:expr;)*) => {$(
        impl $crate::wire::codec::ListItem for $type {
            const WHAT: &'static str = $what;
            const COUNT_MAX: usize = $max;
        }
    )*};
}
pub(crate) use list_items;

/// Implements [`Fields`](super::Fields) for a struct: its fields in the order given. Those behind a
/// semicolon came within a version: programs of before end in front of them, and then they have their
/// defaults.
macro_rules! wire_fields {
    ($($type:ident {
        $($field:ident : $field_type:ty),* $(,)? $(; $($later:ident : $later_type:ty),* $(,)?)?
    })*) => {$(
        impl $crate::wire::codec::Fields for $type {
            const FIELDS_LEN_MIN: usize = 0 $(+ <$field_type as $crate::wire::Wire>::LEN_MIN)*;

            fn encode_fields(&self, out: &mut Vec<u8>) {
                $($crate::wire::Wire::encode(&self.$field, out);)*
                $($($crate::wire::Wire::encode(&self.$later, out);)*)?
            }

            fn decode_fields(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                Ok(Self {
                    $($field: <$field_type as $crate::wire::Wire>::decode(from)?,)*
                    $($($later: $crate::wire::codec::decode_later::<$later_type>(from)?,)*)?
                })
            }
        }
    )*};
}
pub(crate) use wire_fields;

/// Implements [`Wire`](super::Wire) for a struct: a block with its fields in the order given.
/// Fields that a later version has added behind them are skipped.
macro_rules! wire_struct {
    ($($type:ident {
        $($field:ident : $field_type:ty),* $(,)? $(; $($later:ident : $later_type:ty),* $(,)?)?
    })*) => {$(
        $crate::wire::codec::wire_fields! {
            $type { $($field : $field_type),* $(; $($later : $later_type),*)? }
        }

        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = 4 + <Self as $crate::wire::codec::Fields>::FIELDS_LEN_MIN;

            fn encode(&self, out: &mut Vec<u8>) {
                $crate::wire::codec::encode_block(out, |out| {
                    $crate::wire::codec::Fields::encode_fields(self, out);
                    $crate::wire::later::add_field(out);
                });
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                $crate::wire::codec::Fields::decode_fields(&mut from.block()?)
            }
        }
    )*};
}
pub(crate) use wire_struct;

/// Implements [`Wire`](super::Wire) for a struct that never changes: its fields in the order given.
macro_rules! wire_leaf {
    ($($type:ident { $($field:ident : $field_type:ty),* $(,)? })*) => {$(
        $crate::wire::codec::wire_fields! { $type { $($field : $field_type),* } }

        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = <Self as $crate::wire::codec::Fields>::FIELDS_LEN_MIN;

            fn encode(&self, out: &mut Vec<u8>) {
                $crate::wire::codec::Fields::encode_fields(self, out);
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                $crate::wire::codec::Fields::decode_fields(from)
            }
        }
    )*};
}
pub(crate) use wire_leaf;

/// Implements [`Wire`](super::Wire) for an enum: one byte tag, then a block with the variant's
/// fields in the order given. `#[leaf]` before a variant leaves the block out. A tag that is not
/// there becomes the variant behind `_`, which holds the tag, or an error if there is none.
macro_rules! wire_enum {
    ($type:ident $what:literal {
        $($tag:literal => $(#[$leaf:ident])? $variant:ident $( { $($field:ident),* $(,)? } )? $( ( $inner:ident ) )? ),* $(,)?
        $(_ => $unknown:ident $( { $unknown_field:ident } )? $( ( $unknown_inner:ident ) )? $(,)?)?
    }) => {
        impl $crate::wire::Wire for $type {
            const LEN_MIN: usize = 1;

            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $( { $($field),* } )? $( ( $inner ) )? => {
                        out.push($tag);
                        let fields = |_out: &mut Vec<u8>| {
                            $($($crate::wire::Wire::encode($field, _out);)*)?
                            $($crate::wire::Wire::encode($inner, _out);)?
                            if true $(&& stringify!($leaf) != "leaf")? {
                                $crate::wire::later::add_field(_out);
                            }
                        };
                        if false $(|| stringify!($leaf) == "leaf")? {
                            fields(out);
                        } else {
                            $crate::wire::codec::encode_block(out, fields);
                        }
                    })*
                    $(Self::$unknown $( { $unknown_field } )? $( ( $unknown_inner ) )? => {
                        $(out.push(*$unknown_field);)?
                        $(out.push(*$unknown_inner);)?
                        $crate::wire::codec::encode_block(out, |_| {});
                    })?
                }
            }

            fn decode(from: &mut $crate::wire::Decoder<'_>) -> Result<Self, $crate::wire::WireError> {
                let tag = <u8 as $crate::wire::Wire>::decode(from)?;
                match tag {
                    $($tag => {
                        let mut block;
                        let _from = if false $(|| stringify!($leaf) == "leaf")? {
                            from
                        } else {
                            block = from.block()?;
                            &mut block
                        };
                        $($(let $field = $crate::wire::Wire::decode(_from)?;)*)?
                        $(let $inner = $crate::wire::Wire::decode(_from)?;)?
                        Ok(Self::$variant $( { $($field),* } )? $( ( $inner ) )?)
                    })*
                    $(_ => {
                        from.block()?;
                        $(let $unknown_field = tag;)?
                        $(let $unknown_inner = tag;)?
                        Ok(Self::$unknown $( { $unknown_field } )? $( ( $unknown_inner ) )?)
                    })?
                    #[allow(unreachable_patterns)]
                    _ => Err($crate::wire::WireError::UnknownTag { what: $what, tag: tag.into() }),
                }
            }
        }
    };
}
pub(crate) use wire_enum;

/// Implements [`Wire`](super::Wire) for an enum that never changes: one byte tag, then the
/// variant's fields in the order given.
macro_rules! wire_leaf_enum {
    ($type:ident $what:literal { $($tag:literal => $variant:ident $( ( $inner:ident ) )? ),* $(,)? }) => {
        $crate::wire::codec::wire_enum!($type $what { $($tag => #[leaf] $variant $( ( $inner ) )?),* });
    };
}
pub(crate) use wire_leaf_enum;
