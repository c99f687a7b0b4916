//! Filters of v3's lists that are applied to the rendered resources: inexact ones (`name__contains`), tags, and attributes
//! that only some resources have. As in Keystone, filters by unknown attributes are ignored.

use serde_json::Value;

use crate::api::asked::QueryParameters;

/// Whether a text contains another where the comparator requires it.
type Compare = fn(&str, &str) -> bool;

/// Inexact filters: name, comparison, and whether case is ignored.
const COMPARATORS: [(&str, Compare, bool); 6] = [
    ("contains", |text, part| text.contains(part), false),
    ("icontains", |text, part| text.contains(part), true),
    ("startswith", |text, part| text.starts_with(part), false),
    ("istartswith", |text, part| text.starts_with(part), true),
    ("endswith", |text, part| text.ends_with(part), false),
    ("iendswith", |text, part| text.ends_with(part), true),
];

/// Attributes that are compared exactly with the rendered resource.
const EXACT: [&str; 4] = ["parent_id", "parent_region_id", "default_project_id", "description"];

enum Filter {
    Inexact {
        attribute: String,
        compare: Compare,
        ignore_case: bool,
        value: String,
    },
    Exact {
        attribute: &'static str,
        value: String,
    },
    Flag {
        attribute: &'static str,
        value: bool,
    },
    /// All or any of these tags, or the negation.
    Tags {
        tags: Vec<String>,
        any: bool,
        not: bool,
    },
}

/// The filters of a request.
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    pub(crate) fn of(asked: &QueryParameters) -> Self {
        let mut filters = Vec::new();
        for (name, value) in asked.pairs() {
            let Some((attribute, comparator)) = name.rsplit_once("__") else { continue };
            let found = COMPARATORS.iter().find(|(known, ..)| *known == comparator);
            let Some((_, compare, ignore_case)) = found else { continue };
            let value = if *ignore_case { value.to_lowercase() } else { value };
            let (attribute, compare, ignore_case) = (attribute.to_owned(), *compare, *ignore_case);
            filters.push(Filter::Inexact { attribute, compare, ignore_case, value });
        }
        for attribute in EXACT {
            filters.extend(asked.text(attribute).map(|value| Filter::Exact { attribute, value }));
        }
        let is_domain = asked.flag("is_domain");
        filters.extend(is_domain.map(|value| Filter::Flag { attribute: "is_domain", value }));
        for (name, any, not) in [
            ("tags", false, false),
            ("tags-any", true, false),
            ("not-tags", false, true),
            ("not-tags-any", true, true),
        ] {
            filters.extend(asked.text(name).map(|list| {
                let tags = list.split(',').map(str::to_owned).collect();
                Filter::Tags { tags, any, not }
            }));
        }
        Self(filters)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a rendered resource passes every filter.
    pub(crate) fn fit(&self, view: &Value) -> bool {
        self.0.iter().all(|filter| filter.fits(view))
    }
}

impl Filter {
    fn fits(&self, view: &Value) -> bool {
        match self {
            Self::Inexact { attribute, compare, ignore_case, value } => match view.get(attribute) {
                Some(Value::String(text)) if *ignore_case => compare(&text.to_lowercase(), value),
                Some(Value::String(text)) => compare(text, value),
                Some(_) => false,
                None => true,
            },
            Self::Exact { attribute, value } => match view.get(*attribute) {
                Some(shown) => shown.as_str() == Some(value),
                None => true,
            },
            Self::Flag { attribute, value } => match view.get(*attribute) {
                Some(shown) => shown.as_bool() == Some(*value),
                None => true,
            },
            Self::Tags { tags, any, not } => {
                let Some(shown) = view.get("tags").and_then(Value::as_array) else { return true };
                let has = |tag: &String| shown.iter().any(|shown| shown.as_str() == Some(tag));
                let fits = if *any { tags.iter().any(has) } else { tags.iter().all(has) };
                fits != *not
            }
        }
    }
}
