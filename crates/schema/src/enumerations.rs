//! Fields whose values are told one by one. Only documents for clients need them, so they are read from the table anew.

use std::collections::HashMap;

/// The values that fields, or their items, may have.
#[derive(Debug)]
pub struct Enumerations(HashMap<(&'static str, &'static str), &'static str>);

impl Enumerations {
    /// Those of the built-in types.
    pub fn builtin() -> Self {
        let mut found = HashMap::new();
        let (mut structures, mut inlined) = (Vec::new(), Vec::new());
        let (mut structure, mut field) = ("", "");
        for line in crate::types::TABLE.lines() {
            let mut columns = line.split('\t');
            let (letter, column) = (columns.next(), columns.next().unwrap_or_default());
            match letter {
                Some("T") => {
                    structure = column;
                    structures.push(structure);
                }
                Some("I") => inlined.push((structure, columns.next())),
                Some("F") => field = column,
                Some("E") => {
                    found.insert((structure, field), column);
                }
                _ => {}
            }
        }
        for (outer, inner) in inlined {
            let inner = inner.and_then(|number| structures.get(number.parse::<usize>().ok()?)).copied();
            let own = found.iter().filter(|((structure, _), _)| Some(*structure) == inner);
            let own: Vec<_> = own.map(|((_, field), values)| ((outer, *field), *values)).collect();
            found.extend(own);
        }
        Self(found)
    }

    /// The values of a field, sorted, by the name of its struct in OpenAPI.
    pub fn of(&self, structure: &str, field: &str) -> Option<impl Iterator<Item = &'static str> + Clone> {
        self.0.get(&(structure, field)).map(|values| values.split(','))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_types_values() {
        let all = Enumerations::builtin();
        let check = |structure: &str, field: &str, expected: &[&str]| {
            let found: Vec<&str> = all.of(structure, field).into_iter().flatten().collect();
            assert_eq!(found, expected, "{structure} {field}");
        };
        check("io.k8s.api.core.v1.PodSpec", "restartPolicy", &["Always", "Never", "OnFailure"]);
        check("io.k8s.api.core.v1.ServiceSpec", "ipFamilies", &["", "IPv4", "IPv6"]);
        check("io.k8s.api.core.v1.EphemeralContainer", "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
        check("io.k8s.api.core.v1.PodSpec", "nodeName", &[]);
    }
}
