/** - `arrival`: messages in the order in which they came, a row for each batch: see `sqlite-arrivals.ts`. */
export const sql = `
CREATE TABLE arrival (
  number INTEGER PRIMARY KEY,
  rows TEXT NOT NULL
) STRICT;
`;
