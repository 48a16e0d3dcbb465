//! How a section is written down: each key once, with all that is known of it beside its field.

/// Defines the struct of a section from its keys, with their defaults, and a list of their names.
///
/// `key: Type = default` is a key. Its doc comment says what it means, its unit and what raising it does; `range` has the
/// least and the most that it may be; `extend` says more, with these names:
///
/// | name | what it says | without it |
/// |---|---|---|
/// | `x-role` | the [`Role`](super::keys::Role) of the key, or of the keys of the section if it stands above that | [`Role::Learning`](super::keys::Role) |
/// | `x-policy` | the one [`PolicyKind`](super::PolicyKind) that knows the key | all do |
/// | `x-at-most` | another key, whose value is the most that this one may be | `range` alone counts |
macro_rules! section {
    ($(#[$about:meta])* $section:ident { $($(#[$of_key:meta])* $key:ident: $type:ty = $default:expr,)* }) => {
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        $(#[$about])*
        pub struct $section {
            $($(#[$of_key])* pub $key: $type,)*
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }

        impl $section {
            /// The names of its keys.
            pub(super) const KEYS: &[&str] = &[$(stringify!($key)),*];
        }
    };
}

pub(super) use section;
