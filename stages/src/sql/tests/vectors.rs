//! The test cases that OpenTelemetry publishes for SQL.
//!
//! Source: `docs/non-normative/database-test-cases/db-sql-test-cases.json` of open-telemetry/semantic-conventions at commit
//! 3d34ed88; all of them. Those for other products use nothing that the two dialects here read differently, so
//! each is asked of both. Where a case allows several texts, ours is written here; [`DEVIATIONS`] says where we differ.

use super::{BOTH, masked, summary_of};

/// Name, statement, masked text (empty: the statement as it is), summary.
type Case = (&'static str, &'static str, &'static str, &'static str);

/// Name of a case and the summary published for it. The case's own text in the conventions ("Generating a summary of the
/// query": operations and their targets) asks for the table of an UPDATE as for those of SELECT, INSERT and DELETE, and what
/// tells two UPDATEs apart is what the metric is for.
const DEVIATIONS: [(&str, &str); 1] = [("update_set_parenthesized_constant", "UPDATE")];

const LITERALS: &[Case] = &[
    ("numeric_literal_integers", "SELECT 12, -12, +12", "SELECT ?, ?, ?", "SELECT"),
    ("numeric_literal_with_decimal_point", "SELECT 12.34, -12.34, +12.34, .01, -.01", "SELECT ?, ?, ?, ?, ?", "SELECT"),
    ("numeric_literal_exponential", "SELECT 12.34e56, -12.34e56, +12.34e56", "SELECT ?, ?, ?", "SELECT"),
    ("numeric_literal_negative_exponential", "SELECT 12.34e-56, -12.34e-56, +12.34e-56", "SELECT ?, ?, ?", "SELECT"),
    ("arithmetic_on_numeric_literals", "SELECT 99+100", "SELECT ??", "SELECT"),
    ("hex_literal", "SELECT 0xDEADBEEF, 0XdeadBEEF", "SELECT ?, ?", "SELECT"),
    ("string_literal", "SELECT 'hello'", "SELECT ?", "SELECT"),
    ("string_literal_escaped_single_quote", "SELECT 'My name''s not important'", "SELECT ?", "SELECT"),
    ("string_with_embedded_newline", "SELECT 'My name is \n not important'", "SELECT ?", "SELECT"),
    (
        "numbers_in_identifiers",
        "SELECT c3po, r2d2 FROM covid19 WHERE n1h1=1234",
        "SELECT c3po, r2d2 FROM covid19 WHERE n1h1=?",
        "SELECT covid19",
    ),
    (
        "periods_in_identifiers",
        "SELECT a FROM dbo.Table JOIN dbo.AnotherTable",
        "",
        "SELECT dbo.Table dbo.AnotherTable",
    ),
    ("insert_into", "INSERT INTO X VALUES(1, 23456, 123.456, 99+100)", "INSERT INTO X VALUES(?, ?, ?, ??)", "INSERT X"),
    ("uuid", "SELECT { guid '01234567-89ab-cdef-0123-456789abcdef' }", "SELECT { guid ? }", "SELECT"),
    (
        "in_clause",
        "SELECT * FROM table WHERE value IN (123, 456, 'abc')",
        "SELECT * FROM table WHERE value IN (?)",
        "SELECT table",
    ),
    (
        "comments",
        "SELECT column -- end of line comment\nFROM /* block \n comment */ table",
        "SELECT column \nFROM  table",
        "SELECT table",
    ),
];

const QUERIES: &[Case] = &[
    (
        "insert_into_select",
        "INSERT INTO shipping_details\n(order_id,\naddress)\nSELECT order_id,\naddress\nFROM   orders\nWHERE  order_id = 1",
        "INSERT INTO shipping_details\n(order_id,\naddress)\nSELECT order_id,\naddress\nFROM   orders\nWHERE  order_id = ?",
        "INSERT shipping_details SELECT orders",
    ),
    (
        "select_nested_query",
        "SELECT order_date\nFROM   (SELECT *\nFROM   orders o\nJOIN customers c\nON o.customer_id = c.customer_id)",
        "",
        "SELECT SELECT orders customers",
    ),
    (
        "select_nested_query_case_preserved",
        "SELEcT order_date\nFROM   (sELECT *\nFROM   orders o\nJOIN customers c\nON o.customer_id = c.customer_id)",
        "",
        "SELEcT sELECT orders customers",
    ),
    ("case_preserved", "SELEcT order_date\nFROM ORders", "", "SELEcT ORders"),
    ("cross_join", "SELECT * FROM Orders o CROSS JOIN OrderDetails od", "", "SELECT Orders OrderDetails"),
    ("cross_join_comma_separated_syntax", "SELECT * FROM Orders o, OrderDetails od", "", "SELECT Orders OrderDetails"),
    ("keyword_prefix_for_target", "SELECT * FROM SelectedData", "", "SELECT SelectedData"),
    (
        "summary_truncated",
        "SELECT * FROM Vecnzotjejucwitzgrfifscuevittljlnrlpbruvkezeptqciyvbjhsytmbucbhwttidayecnthaztxbyppbyztcqccedeirgkxzrfezjxfwbtuqxeusroqgbvulgmsvnelovkxqsaqmlogomkhtjuirzhaocxlrmerihnmwaelullionarkmxwdamhduwrbooknqsnilurutgyerxphokeqnnoumbpcfjtmqrbpukjllofiwaltyoawkp o, OrderDetails od",
        "",
        "SELECT",
    ),
    ("select_distinct", "SELECT DISTINCT Country FROM Countries", "", "SELECT Countries"),
    (
        "select_distinct_with_join",
        "SELECT DISTINCT o.Id FROM Orders o JOIN Customers c ON o.CustomerId = c.Id",
        "",
        "SELECT Orders Customers",
    ),
    (
        "select_with_multiple_joins_and_group_by",
        "SELECT o.Id, c.Name, SUM(oi.Quantity) FROM Orders o JOIN Customers c ON o.CustomerId = c.Id JOIN OrderItems oi ON o.Id = oi.OrderId GROUP BY o.Id, c.Name;",
        "",
        "SELECT Orders Customers OrderItems",
    ),
    (
        "select_with_distinct_and_window_function",
        "SELECT DISTINCT Department, COUNT(*) OVER (PARTITION BY Department) AS DeptCount FROM Employees;",
        "",
        "SELECT Employees",
    ),
    (
        "select_with_union_and_order_by",
        "SELECT Id, Name FROM Customers UNION SELECT Id, Name FROM Suppliers ORDER BY Name;",
        "",
        "SELECT Customers Suppliers",
    ),
    ("exec_sp_rename_table_tsql", "EXEC sp_rename 'OldTable', 'NewTable';", "EXEC sp_rename ?, ?;", "EXEC sp_rename"),
    ("exec_stored_procedure_no_params", "EXEC GetAllEmployees;", "", "EXEC GetAllEmployees"),
    (
        "exec_stored_procedure_with_params",
        "EXEC GetEmployeeById @EmployeeId = 42;",
        "EXEC GetEmployeeById @EmployeeId = ?;",
        "EXEC GetEmployeeById",
    ),
    (
        "valid_top_with_parentheses",
        "SELECT TOP (10) * FROM Employees",
        "SELECT TOP (?) * FROM Employees",
        "SELECT Employees",
    ),
    (
        "sanitized_top_without_parentheses",
        "SELECT TOP 10 * FROM Employees",
        "SELECT TOP ? * FROM Employees",
        "SELECT Employees",
    ),
];

const TABLES: &[Case] = &[
    (
        "create_table",
        "CREATE  TABLE MyTable (\n    ID NOT NULL IDENTITY(1,1) PRIMARY KEY\n)",
        "CREATE  TABLE MyTable (\n    ID NOT NULL IDENTITY(?,?) PRIMARY KEY\n)",
        "CREATE TABLE MyTable",
    ),
    (
        "alter_table",
        "ALTER  TABLE MyTable ADD Name varchar(255)",
        "ALTER  TABLE MyTable ADD Name varchar(?)",
        "ALTER TABLE MyTable",
    ),
    ("drop_table", "DROP  TABLE MyTable", "", "DROP TABLE MyTable"),
    (
        "create_unique_clustered_index",
        "CREATE UNIQUE CLUSTERED INDEX IX_Employee_Email ON Employees (Email);",
        "",
        "CREATE INDEX IX_Employee_Email",
    ),
    (
        "create_unique_index",
        "CREATE UNIQUE INDEX IX_Employee_Email ON Employees (Email);",
        "",
        "CREATE INDEX IX_Employee_Email",
    ),
    (
        "create_table_with_if_not_exists",
        "CREATE TABLE IF NOT EXISTS Users (Id INT PRIMARY KEY, Name NVARCHAR(100));",
        "CREATE TABLE IF NOT EXISTS Users (Id INT PRIMARY KEY, Name NVARCHAR(?));",
        "CREATE TABLE Users",
    ),
    (
        "create_view_with_select",
        "CREATE VIEW ActiveUsers AS SELECT * FROM Users WHERE IsActive = 1;",
        "CREATE VIEW ActiveUsers AS SELECT * FROM Users WHERE IsActive = ?;",
        "CREATE VIEW ActiveUsers",
    ),
    (
        "alter_table_add_column",
        "ALTER TABLE Orders ADD COLUMN OrderStatus NVARCHAR(50);",
        "ALTER TABLE Orders ADD COLUMN OrderStatus NVARCHAR(?);",
        "ALTER TABLE Orders",
    ),
    ("alter_table_rename_column", "ALTER TABLE Orders RENAME COLUMN OldName TO NewName;", "", "ALTER TABLE Orders"),
    (
        "alter_view_as_select",
        "ALTER VIEW ActiveUsers AS SELECT * FROM Users WHERE IsActive = 1;",
        "ALTER VIEW ActiveUsers AS SELECT * FROM Users WHERE IsActive = ?;",
        "ALTER VIEW ActiveUsers",
    ),
    (
        "create_index_with_include",
        "CREATE INDEX IX_Orders_CustomerId ON Orders (CustomerId) INCLUDE (OrderDate, TotalAmount);",
        "",
        "CREATE INDEX IX_Orders_CustomerId",
    ),
    ("alter_table_drop_column", "ALTER TABLE Orders DROP COLUMN TempColumn;", "", "ALTER TABLE Orders"),
    ("alter_index", "ALTER INDEX IX_Employee_Email ON Employees REBUILD;", "", "ALTER INDEX IX_Employee_Email"),
    (
        "create_table_default_parenthesized_constant",
        "CREATE TABLE T (A INT DEFAULT (123));",
        "CREATE TABLE T (A INT DEFAULT (?));",
        "CREATE TABLE T",
    ),
    (
        "valid_type_length_specifiers_varchar_char",
        "CREATE TABLE Table (Name VARCHAR(255), Code CHAR(10));",
        "CREATE TABLE Table (Name VARCHAR(?), Code CHAR(?));",
        "CREATE TABLE Table",
    ),
    (
        "valid_type_length_specifiers_varbinary_datetime2_time",
        "CREATE TABLE Table (Payload VARBINARY(16), EventTime DATETIME2(7), Duration TIME(7));",
        "CREATE TABLE Table (Payload VARBINARY(?), EventTime DATETIME2(?), Duration TIME(?));",
        "CREATE TABLE Table",
    ),
    (
        "malformed_alter_table_example_one",
        "ALTER  TABLE MyTable ADD Name varchar(255) 'mypassword' 1234",
        "ALTER  TABLE MyTable ADD Name varchar(?) ? ?",
        "ALTER TABLE MyTable",
    ),
    (
        "malformed_alter_table_example_two",
        "ALTER  TABLE MyTable 'mypassword' ADD 123 Name varchar(255)",
        "ALTER  TABLE MyTable ? ADD ? Name varchar(?)",
        "ALTER TABLE MyTable",
    ),
];

const ROUTINES: &[Case] = &[
    (
        "create_procedure_with_params",
        "CREATE PROCEDURE GetUserById @UserId INT AS SELECT * FROM Users WHERE Id = @UserId;",
        "",
        "CREATE PROCEDURE GetUserById",
    ),
    (
        "create_trigger_on_table",
        "CREATE TRIGGER trg_UpdateTimestamp ON Orders AFTER UPDATE AS BEGIN UPDATE Orders SET UpdatedAt = GETDATE() WHERE Id IN (SELECT Id FROM inserted); END;",
        "",
        "CREATE TRIGGER trg_UpdateTimestamp",
    ),
    (
        "alter_procedure_with_params",
        "ALTER PROCEDURE UpdateUserEmail @UserId INT, @Email NVARCHAR(100) AS UPDATE Users SET Email = @Email WHERE Id = @UserId;",
        "ALTER PROCEDURE UpdateUserEmail @UserId INT, @Email NVARCHAR(?) AS UPDATE Users SET Email = @Email WHERE Id = @UserId;",
        "ALTER PROCEDURE UpdateUserEmail",
    ),
    ("drop_trigger", "DROP TRIGGER IF EXISTS trg_AfterInsert;", "", "DROP TRIGGER trg_AfterInsert"),
    (
        "alter_trigger",
        "ALTER TRIGGER trg_AfterInsert ON Employees AFTER INSERT AS BEGIN INSERT INTO AuditLog (EmployeeId, Action) SELECT Id, 'INSERT' FROM inserted; END;",
        "ALTER TRIGGER trg_AfterInsert ON Employees AFTER INSERT AS BEGIN INSERT INTO AuditLog (EmployeeId, Action) SELECT Id, ? FROM inserted; END;",
        "ALTER TRIGGER trg_AfterInsert",
    ),
    (
        "create_procedure_with_multiple_params",
        "CREATE PROCEDURE AddEmployee @Name NVARCHAR(100), @Email NVARCHAR(100) AS INSERT INTO Employees (Name, Email) VALUES (@Name, @Email);",
        "CREATE PROCEDURE AddEmployee @Name NVARCHAR(?), @Email NVARCHAR(?) AS INSERT INTO Employees (Name, Email) VALUES (@Name, @Email);",
        "CREATE PROCEDURE AddEmployee",
    ),
    ("drop_procedure", "DROP PROCEDURE IF EXISTS RemoveEmployee;", "", "DROP PROCEDURE RemoveEmployee"),
    (
        "alter_procedure_add_param",
        "ALTER PROCEDURE UpdateEmployeeEmail @EmployeeId INT, @Email NVARCHAR(100) AS UPDATE Employees SET Email = @Email WHERE Id = @EmployeeId;",
        "ALTER PROCEDURE UpdateEmployeeEmail @EmployeeId INT, @Email NVARCHAR(?) AS UPDATE Employees SET Email = @Email WHERE Id = @EmployeeId;",
        "ALTER PROCEDURE UpdateEmployeeEmail",
    ),
    (
        "create_function_tsql",
        "CREATE FUNCTION dbo.GetTotal(@a INT, @b INT) RETURNS INT AS BEGIN RETURN @a + @b; END;",
        "",
        "CREATE FUNCTION dbo.GetTotal",
    ),
    (
        "alter_function_tsql",
        "ALTER FUNCTION dbo.GetTotal(@a INT, @b INT) RETURNS INT AS BEGIN RETURN @a * @b; END;",
        "",
        "ALTER FUNCTION dbo.GetTotal",
    ),
    ("drop_function_tsql", "DROP FUNCTION dbo.GetTotal;", "", "DROP FUNCTION dbo.GetTotal"),
];

const THINGS: &[Case] = &[
    ("create_database", "CREATE DATABASE TestDb;", "", "CREATE DATABASE TestDb"),
    ("alter_database", "ALTER DATABASE TestDb MODIFY NAME = NewTestDb;", "", "ALTER DATABASE TestDb"),
    ("drop_database", "DROP DATABASE IF EXISTS TestDb;", "", "DROP DATABASE TestDb"),
    ("create_schema", "CREATE SCHEMA Reporting;", "", "CREATE SCHEMA Reporting"),
    ("alter_schema", "ALTER SCHEMA Reporting TRANSFER dbo.OldTable;", "", "ALTER SCHEMA Reporting"),
    ("drop_schema", "DROP SCHEMA IF EXISTS Reporting;", "", "DROP SCHEMA Reporting"),
    (
        "create_sequence",
        "CREATE SEQUENCE SalesSeq START WITH 1 INCREMENT BY 1;",
        "CREATE SEQUENCE SalesSeq START WITH ? INCREMENT BY ?;",
        "CREATE SEQUENCE SalesSeq",
    ),
    (
        "alter_sequence",
        "ALTER SEQUENCE SalesSeq RESTART WITH 100;",
        "ALTER SEQUENCE SalesSeq RESTART WITH ?;",
        "ALTER SEQUENCE SalesSeq",
    ),
    ("drop_sequence", "DROP SEQUENCE SalesSeq;", "", "DROP SEQUENCE SalesSeq"),
    (
        "create_user",
        "CREATE USER johndoe WITH PASSWORD = 'password';",
        "CREATE USER johndoe WITH PASSWORD = ?;",
        "CREATE USER johndoe",
    ),
    (
        "alter_user",
        "ALTER USER johndoe WITH PASSWORD = 'newpassword';",
        "ALTER USER johndoe WITH PASSWORD = ?;",
        "ALTER USER johndoe",
    ),
    ("drop_user", "DROP USER IF EXISTS johndoe;", "", "DROP USER johndoe"),
    ("create_role", "CREATE ROLE app_admin;", "", "CREATE ROLE app_admin"),
    ("alter_role", "ALTER ROLE app_admin ADD MEMBER johndoe;", "", "ALTER ROLE app_admin"),
    ("drop_role", "DROP ROLE IF EXISTS app_admin;", "", "DROP ROLE app_admin"),
];

const PARENTHESES: &[Case] = &[
    (
        "insert_values_parenthesized_number",
        "INSERT INTO T (A) VALUES (123)",
        "INSERT INTO T (A) VALUES (?)",
        "INSERT T",
    ),
    ("parenthesized_constant_select", "SELECT (123) AS C;", "SELECT (?) AS C;", "SELECT"),
    ("update_set_parenthesized_constant", "UPDATE T SET A = (999);", "UPDATE T SET A = (?);", "UPDATE T"),
    ("nested_parentheses_constant_select", "SELECT ((123)) AS C;", "SELECT ((?)) AS C;", "SELECT"),
    ("function_arg_parenthesized_constant", "SELECT ABS((123));", "SELECT ABS((?));", "SELECT"),
    (
        "between_parenthesized_constants",
        "SELECT * FROM T WHERE Amount BETWEEN (10) AND (20);",
        "SELECT * FROM T WHERE Amount BETWEEN (?) AND (?);",
        "SELECT T",
    ),
    (
        "coalesce_first_arg_parenthesized_constant",
        "SELECT * FROM T WHERE Id = COALESCE((123), 0);",
        "SELECT * FROM T WHERE Id = COALESCE((?), ?);",
        "SELECT T",
    ),
    ("cast_parenthesized_constant", "SELECT CAST((123) AS INT);", "SELECT CAST((?) AS INT);", "SELECT"),
    (
        "in_clause_starting_with_negative_literal",
        "SELECT * FROM table WHERE value IN (-123, .456, 'abc', 0.12, 1e10)",
        "SELECT * FROM table WHERE value IN (?)",
        "SELECT table",
    ),
    (
        "in_clause_starting_with_hex_literal",
        "SELECT * FROM table WHERE value IN (0xAB, .456, 'abc', 0.12, 1e10)",
        "SELECT * FROM table WHERE value IN (?)",
        "SELECT table",
    ),
    (
        "in_clause_starting_with_string_literal",
        "SELECT * FROM table WHERE value IN ('abc', 0xAB, .456, 0.12, 1e10)",
        "SELECT * FROM table WHERE value IN (?)",
        "SELECT table",
    ),
    (
        "malformed_in_clause",
        "SELECT * FROM table WHERE value IN ('abc', 0xAB, .456,",
        "SELECT * FROM table WHERE value IN (?, ?, ?,",
        "SELECT table",
    ),
];

/// Cases in that version of the file.
const PUBLISHED: usize = 89;

pub(super) fn cases() -> impl Iterator<Item = &'static Case> {
    [LITERALS, QUERIES, TABLES, ROUTINES, THINGS, PARENTHESES].into_iter().flatten()
}

#[test]
fn reads_the_published_cases_as_published() {
    let mut wrong = Vec::new();
    for &(name, sql, text, summary) in cases() {
        for dialect in BOTH {
            let text = if text.is_empty() { sql } else { text };
            let (our_text, our_summary) = (masked(dialect, sql), summary_of(dialect, sql));
            if our_text != text || our_summary != summary {
                wrong.push(format!("{name}: {our_text} | {our_summary}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases().count(), PUBLISHED);
}

#[test]
fn deviations_are_those_that_are_argued() {
    for (name, published) in DEVIATIONS {
        let (_, sql, _, ours) = cases().find(|case| case.0 == name).unwrap();
        assert_ne!(*ours, published, "{sql} no longer deviates");
    }
}
