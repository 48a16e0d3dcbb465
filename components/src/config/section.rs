//! How a section is written down: each key once, with all that is known of it beside its field.

/// Defines the struct of a section from its keys, with their defaults, and a list of their names.
///
/// ```text
/// /// What the key means, its unit, and what raising it does.
/// key: Type = default, from least to most, at most "section.other_key", role Fixed, policy Gumbel;
/// ```
///
/// What stands behind the default may be left out. `at most` names a key whose value is a bound as well; `role` is the
/// [`Role`](super::keys::Role) of the key, and of all keys of a section where it stands behind the name of that; `policy` is the
/// one [`PolicyKind`](super::PolicyKind) that knows the key.
macro_rules! section {
    ($(#[$about:meta])* $section:ident $(, role $of_all:ident)? { $(
        $(#[$of_key:meta])*
        $key:ident: $type:ty = $default:expr
            $(, from $least:tt to $most:expr)? $(, at most $other:literal)? $(, role $role:ident)? $(, policy $policy:ident)?;
    )* }) => {
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        $(#[schemars(extend("x-role" = $crate::config::keys::Role::$of_all))])?
        $(#[$about])*
        pub struct $section { $(
            $(#[$of_key])*
            $(#[schemars(range(min = $least, max = $most))])?
            $(#[schemars(extend("x-at-most" = $other))])?
            $(#[schemars(extend("x-role" = $crate::config::keys::Role::$role))])?
            $(#[schemars(extend("x-policy" = $crate::config::PolicyKind::$policy))])?
            pub $key: $type,
        )* }

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
