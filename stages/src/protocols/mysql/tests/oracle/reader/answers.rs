//! What a server answers: sets of rows, definitions, OK, EOF and errors.

use super::*;
use mysql_common::constants::ColumnType;
use mysql_common::misc::raw::int::LenEnc;
use mysql_common::packets::session_state_change::SessionStateChange;
use mysql_common::packets::{
    ErrPacket, LocalInfilePacket, OkPacket, OkPacketDeserializer, OkPacketKind, OldEofPacket, ResultSetTerminator,
    StmtPacket,
};
use mysql_common::proto::MyDeserialize;
use mysql_common::row::RowDeserializer;
use mysql_common::value::ServerSide;

impl Oracle {
    /// OK, EOF or an error.
    pub(super) fn simple(&mut self, command: Command, content: &[u8]) -> Result<Option<u16>, Refusal> {
        let payload = self.answer()?;
        match payload.first() {
            Some(0x00) => drop(self.ok::<CommonOkPacket>(&payload)?),
            Some(0xfe) => drop(self.ok::<OldEofPacket>(&payload)?),
            _ => return Ok(Some(self.failure(&payload)?)),
        }
        match command {
            Command::COM_INIT_DB => self.moved_to(content),
            Command::COM_RESET_CONNECTION => self.statements.clear(),
            _ => {}
        }
        Ok(None)
    }

    /// Results up to the last: rows, OK, an error, the wish for a local file.
    pub(super) fn results<P>(&mut self, statement: Option<u32>) -> Result<Option<u16>, Refusal>
    where
        for<'a> RowDeserializer<ServerSide, P>: MyDeserialize<'a, Ctx = Columns>,
    {
        loop {
            let payload = self.answer()?;
            let status = match payload.first() {
                Some(0x00) => self.ok::<CommonOkPacket>(&payload)?,
                Some(0xff) => return Ok(Some(self.failure(&payload)?)),
                Some(0xfb) => {
                    parse::<LocalInfilePacket<'_>>(&payload, ())?;
                    while !self.ask()?.payload.is_empty() {}
                    continue;
                }
                _ => {
                    let Some(columns) = self.columns(&payload, statement)? else { return Ok(None) };
                    match self.rows::<P>(&columns)? {
                        Ok(status) => status,
                        Err(error) => return Ok(Some(error)),
                    }
                }
            };
            if !status.contains(StatusFlags::SERVER_MORE_RESULTS_EXISTS) {
                return Ok(None);
            }
        }
    }

    /// The columns of a result that `payload` counts. `None`: its rows wait behind a cursor.
    fn columns(&mut self, payload: &[u8], statement: Option<u32>) -> Result<Option<Columns>, Refusal> {
        let mut fields = ParseBuf(payload);
        let count = fields.parse::<RawInt<LenEnc>>(())?.0;
        // MARIADB_CLIENT_CACHE_METADATA: the client may know them from before.
        let follow = match self.extended.contains(MariadbCapabilities::MARIADB_CLIENT_CACHE_METADATA) {
            true => fields.parse::<RawInt<u8>>(())?.0,
            false => 1,
        };
        let follow = [false, true].get(usize::from(follow)).copied().ok_or("neither yes nor no")?;
        if count == 0 || !fields.is_empty() {
            return Err("not a count of columns".into());
        }
        let columns = match statement.and_then(|number| self.statements.get_mut(&number)) {
            Some((_, columns)) if !follow => Arc::clone(columns),
            _ if !follow => return Err("columns that nobody told".into()),
            _ => self.definitions(count)?,
        };
        if columns.len() as u64 != count {
            return Err("a count of other columns".into());
        }
        if let Some((_, known)) = statement.and_then(|number| self.statements.get_mut(&number)) {
            *known = Arc::clone(&columns);
        }
        if self.capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
            return Ok(Some(columns));
        }
        let payload = self.answer()?;
        let status = self.ok::<OldEofPacket>(&payload)?;
        Ok((!status.contains(StatusFlags::SERVER_STATUS_CURSOR_EXISTS)).then_some(columns))
    }

    /// "Column Definition", without what MariaDB says of types besides ("Extended metadata"), which the crate does not know.
    fn column(&self, mut payload: Vec<u8>, with_default: bool) -> Result<Column, Refusal> {
        if self.extended.contains(MariadbCapabilities::MARIADB_CLIENT_EXTENDED_METADATA) {
            let mut fields = ParseBuf(&payload);
            for _ in 0..6 {
                fields.checked_eat_lenenc_str().ok_or("a name is missing")?;
            }
            let from = payload.len() - fields.len();
            fields.checked_eat_lenenc_str().ok_or("the metadata is missing")?;
            let to = payload.len() - fields.len();
            payload.drain(from..to);
        }
        let mut fields = ParseBuf(&payload);
        let column: Column = fields.parse(())?;
        // COM_FIELD_LIST: the default value stands behind.
        if with_default {
            match fields.0.first() {
                Some(0xfb) => fields.skip(1),
                _ => drop(fields.checked_eat_lenenc_str().ok_or("no default value")?),
            }
        }
        // Types that servers have among themselves only; the crate panics at values of theirs.
        let inner = matches!(
            column.column_type(),
            ColumnType::MYSQL_TYPE_TIMESTAMP2
                | ColumnType::MYSQL_TYPE_DATETIME2
                | ColumnType::MYSQL_TYPE_TIME2
                | ColumnType::MYSQL_TYPE_TYPED_ARRAY
                | ColumnType::MYSQL_TYPE_UNKNOWN
        );
        if fields.is_empty() && !inner { Ok(column) } else { Err("not a definition".into()) }
    }

    /// Rows up to what ends them.
    pub(super) fn rows<P>(&mut self, columns: &Columns) -> Result<Result<StatusFlags, u16>, Refusal>
    where
        for<'a> RowDeserializer<ServerSide, P>: MyDeserialize<'a, Ctx = Columns>,
    {
        loop {
            let payload = self.answer()?;
            match payload.first() {
                Some(0xff) => return Ok(Err(self.failure(&payload)?)),
                Some(0xfe) if payload.len() < MAX_PAYLOAD_LEN => return Ok(Ok(self.terminator(&payload)?)),
                _ => drop(parse::<RowDeserializer<ServerSide, P>>(&payload, Arc::clone(columns))?),
            }
        }
    }

    pub(super) fn prepared(&mut self, text: Text) -> Result<Option<u16>, Refusal> {
        let payload = self.answer()?;
        if payload.first() == Some(&0xff) {
            return Ok(Some(self.failure(&payload)?));
        }
        let statement: StmtPacket = parse(&payload, ())?;
        let mut columns = Columns::default();
        for count in [statement.num_params(), statement.num_columns()] {
            columns = self.definitions(count.into())?;
            if count > 0 && !self.capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
                let payload = self.answer()?;
                self.ok::<OldEofPacket>(&payload)?;
            }
        }
        self.last_prepared = statement.statement_id();
        self.statements.insert(self.last_prepared, (text, columns));
        Ok(None)
    }

    fn definitions(&mut self, count: u64) -> Result<Columns, Refusal> {
        let next = |_| self.answer().and_then(|payload| self.column(payload, false));
        (0..count).map(next).collect()
    }

    pub(super) fn field_list(&mut self) -> Result<Option<u16>, Refusal> {
        loop {
            let payload = self.answer()?;
            match payload.first() {
                Some(0xff) => return Ok(Some(self.failure(&payload)?)),
                Some(0xfe) => return self.terminator(&payload).map(|_| None),
                _ => drop(self.column(payload, true)?),
            }
        }
    }

    /// What ends rows.
    fn terminator(&mut self, payload: &[u8]) -> Result<StatusFlags, Refusal> {
        if self.capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
            self.ok::<ResultSetTerminator>(payload)
        } else {
            self.ok::<OldEofPacket>(payload)
        }
    }

    /// An OK or EOF packet.
    pub(super) fn ok<K: OkPacketKind>(&mut self, payload: &[u8]) -> Result<StatusFlags, Refusal> {
        // The crate takes 0xfb (NULL) and 0xff for zeros, where "Protocol::LengthEncodedInteger" has no number for them.
        let mut fields = ParseBuf(payload.get(1..).unwrap_or_default());
        for _ in 0..if payload.len() > 5 { 2 } else { 0 } {
            if matches!(fields.0.first(), Some(0xfb | 0xff)) {
                return Err("not a number".into());
            }
            fields.parse::<RawInt<LenEnc>>(())?;
        }
        let ok: OkPacket<'_> = parse::<OkPacketDeserializer<'_, K>>(payload, self.capabilities)?.into_inner();
        for change in ok.session_state_info()? {
            if let SessionStateChange::Schema(name) = change.decode()? {
                self.told = Some(Text::from_wire(name.as_bytes()));
            }
        }
        Ok(ok.status_flags())
    }

    pub(super) fn failure(&mut self, payload: &[u8]) -> Result<u16, Refusal> {
        match parse::<ErrPacket<'_>>(payload, self.with_progress())? {
            ErrPacket::Error(error) => Ok(error.error_code()),
            ErrPacket::Progress(_) => Err("progress in place of an answer".into()),
        }
    }

    /// MariaDB says in its extended capabilities what the crate looks for in the others.
    pub(super) fn with_progress(&self) -> CapabilityFlags {
        let progress = self.extended.contains(MariadbCapabilities::MARIADB_CLIENT_PROGRESS);
        self.capabilities | if progress { CapabilityFlags::CLIENT_PROGRESS_OBSOLETE } else { CapabilityFlags::empty() }
    }
}
