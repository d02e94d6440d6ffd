//! The columns of an export of rejects: the headers of all files in one, such that an import of the export reads every field
//! from where its file had it.

use shared::csv::layout::{MAX_COLUMNS, MAX_HEADER_BYTES};
use shared::csv::text::quote;
use shared::domain::field::{Field, Mapping, REJECT_COLUMNS, fold};
use shared::domain::layout::Layout;

/// How many bytes of the header stay free for fields: they always find room.
const RESERVED_BYTES: usize = 16 * 1024;

/// One column of the union.
struct Column {
    name: String,
    /// What the column holds in the files; `None`: an import ignores it.
    field: Option<Field>,
}

/// For each column of a file its place in the union; `None`: it is not exported.
pub(crate) struct Places(Vec<Option<usize>>);

/// The headers of the files so far, in order of first appearance.
#[derive(Default)]
pub(crate) struct Union {
    columns: Vec<Column>,
    bytes: usize,
}

impl Union {
    /// Adds a file's header. Columns of the same field are one, whatever their names; others are, by their names.
    pub(crate) fn add(&mut self, layout: &Layout) -> Places {
        let mut taken = Vec::new();
        let columns = layout.header.iter().zip(&layout.columns);
        let places = columns.map(|(name, field)| {
            let place = self.find(name, *field, &taken).or_else(|| self.append(name, *field));
            taken.extend(place);
            place
        });
        Places(places.collect())
    }

    fn find(&self, name: &str, field: Option<Field>, taken: &[usize]) -> Option<usize> {
        let is_same = |column: &Column| column.field == field && (field.is_some() || column.name == name);
        (0..self.columns.len()).find(|place| is_same(&self.columns[*place]) && !taken.contains(place))
    }

    /// A column that an import ignores is appended only while the header stays one that an import takes.
    fn append(&mut self, name: &str, field: Option<Field>) -> Option<usize> {
        let most = (MAX_COLUMNS - REJECT_COLUMNS.len() - Field::ALL.len(), MAX_HEADER_BYTES - RESERVED_BYTES);
        let bytes = self.bytes + quote(name, b',').len() + 1;
        let is_own = REJECT_COLUMNS.contains(&name);
        if field.is_none() && (is_own || self.columns.len() >= most.0 || bytes > most.1) {
            return None;
        }
        self.bytes = bytes;
        self.columns.push(Column { name: name.to_owned(), field });
        Some(self.columns.len() - 1)
    }

    /// Settles the columns once every file's header is known. `mapping`: the import's own, for which the export is made.
    pub(crate) fn settle(self, mapping: &Mapping) -> Header {
        let is_kept = |column: &Column| column.field.is_some() || !self.is_ambiguous(&column.name, mapping);
        let kept = (0..self.columns.len()).filter(|place| is_kept(&self.columns[*place])).collect();
        Header { width: self.columns.len(), names: self.columns.into_iter().map(|c| c.name).collect(), kept }
    }

    /// Whether an import of the union might take an ignored column for that of a field: it prefers exact names.
    fn is_ambiguous(&self, name: &str, mapping: &Mapping) -> bool {
        let mapped = mapping.iter().find(|(_, header)| fold(header) == fold(name));
        let by_name = || Field::by_header(name).filter(|field| !mapping.contains_key(field.as_str()));
        let (field, exact) = match mapped {
            Some((field, header)) => (Field::by_name(field), header.as_str()),
            None => match by_name() {
                Some(field) => (Some(field), field.as_str()),
                None => return false,
            },
        };
        !self.columns.iter().any(|column| column.field == field && column.name == exact)
    }
}

/// The settled columns.
pub(crate) struct Header {
    /// Of all columns of the union.
    names: Vec<String>,
    width: usize,
    /// Places of the union that are exported, in order.
    kept: Vec<usize>,
}

impl Header {
    /// The names of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().map(|place| self.names[*place].as_str())
    }

    /// The fields of a record of a file, each in its column.
    pub(crate) fn arrange<'a>(&self, places: &Places, fields: &'a [String]) -> Vec<&'a str> {
        let mut all = vec![""; self.width];
        for (place, field) in places.0.iter().zip(fields) {
            if let Some(place) = place {
                all[*place] = field;
            }
        }
        self.kept.iter().map(|place| all[*place]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::csv::layout::read_layout;
    use shared::domain::layout::Compression;

    async fn layout(header: &str, mapping: &Mapping) -> Layout {
        read_layout(format!("{header}\nx\n").as_bytes(), true, Compression::None, mapping).await.unwrap()
    }

    /// The header of the union, as an import with the same mapping reads it, and a record of the last file in it.
    async fn unite(headers: &[&str], record: &[&str], mapping: &Mapping) -> (Vec<String>, Vec<String>) {
        let mut union = Union::default();
        let mut last = Places(Vec::new());
        for header in headers {
            last = union.add(&layout(header, mapping).await);
        }
        let header = union.settle(mapping);
        let names: Vec<String> = header.names().map(str::to_owned).collect();
        // It can be imported: no column is there twice, and each field is found.
        layout(&names.join(","), mapping).await;
        let fields: Vec<String> = record.iter().map(|field| (*field).to_owned()).collect();
        (names, header.arrange(&last, &fields).into_iter().map(str::to_owned).collect())
    }

    #[tokio::test]
    async fn columns_of_one_field_are_one() {
        let none = Mapping::new();
        let (names, record) =
            unite(&["Code,Batch ID,colour", "points,batch_code,CODE"], &["1", "b", "A"], &none).await;
        assert_eq!(names, ["Code", "Batch ID", "colour", "points"]);
        assert_eq!(record, ["A", "b", "", "1"]);
        let mapping = Mapping::from([("code".to_owned(), "Voucher".to_owned())]);
        let (names, record) = unite(&["Voucher,code,x", "x,voucher"], &["y", "V"], &mapping).await;
        assert_eq!(names, ["Voucher", "code", "x"]);
        assert_eq!(record, ["V", "", "y"]);
    }

    #[tokio::test]
    async fn an_ignored_column_never_takes_the_place_of_a_field() {
        let none = Mapping::new();
        let (names, record) = unite(&["code,Code,x,x"], &["A", "B", "1", "2"], &none).await;
        assert_eq!((names.join(","), record.join(",")), ("code,Code,x,x".into(), "A,B,1,2".into()));
        // Here nothing would tell them apart.
        let (names, record) = unite(&["CODE,y", "code,Code"], &["A", "B"], &none).await;
        assert_eq!((names.join(","), record.join(",")), ("CODE,y".into(), "A,".into()));
    }

    #[tokio::test]
    async fn a_header_stays_one_that_an_import_takes() {
        let none = Mapping::new();
        let wide = |prefix: &str| (0..700).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(",");
        let headers = [format!("code,{}", wide("a")), format!("{},serial,code", wide("b"))];
        let (names, _) = unite(&[&headers[0], &headers[1]], &[], &none).await;
        assert!(names.len() + REJECT_COLUMNS.len() <= MAX_COLUMNS, "{}", names.len());
        assert!(names.contains(&"serial".to_owned()), "a field of the last file");
        let again = format!("code,{}", REJECT_COLUMNS.join(","));
        assert_eq!(unite(&[&again], &["A", "f"], &none).await, (vec!["code".into()], vec!["A".into()]));
    }
}
