import { open } from 'node:fs/promises';
import { zstdDecompressSync } from 'node:zlib';
import { z } from 'zod';
import { isoJst } from '../../base/clock.ts';
import { witnessedHeads } from '../../flow/receipts.ts';
import { ConnectorError, reasonOf } from '../../model/errors.ts';
import type { AppContext } from '../context.ts';
import { defineCommand } from './command.ts';

/** So that a spreadsheet in Japan reads UTF-8. */
const byteOrderMark = '\uFEFF';

export const ledgerCommands = {
  /** Walks the chain and holds it against every head a producer has witnessed in a receipt. */
  'ledger.verify': defineCommand(z.strictObject({}), (app) => {
    const witnessed = witnessedHeads(app.store);
    const head = app.store.ledger.verify(witnessed);
    return { ok: true, entries: head.seq, head, witnessed: witnessed.length };
  }),

  /** Writes the ledger, or the record of provision (提供の記録), as CSV for people, to a new file. */
  'ledger.export': defineCommand(
    z.strictObject({
      file: z.string(),
      what: z.enum(['ledger', 'provision']).optional(),
      patient: z.string().optional(),
    }),
    async (app, { file, what, patient }) => {
      const lines = what === 'provision' ? provisionLines(app, patient) : ledgerLines(app);
      return { file, rows: await writeCsv(file, lines) };
    },
  ),
};

type Row = readonly (string | number | undefined)[];

function* ledgerLines(app: AppContext): Generator<Row> {
  yield ['seq', 'at', 'kind', 'details'];
  for (const { seq, at, kind, body } of app.store.ledger.entries()) yield [seq, isoJst(at), kind, JSON.stringify(body)];
}

interface Provided {
  recordId: string;
  subjectId: string;
  patientId: string;
  category: string;
  op: string;
  basis: string;
  notice: string;
  bytes: number;
  sha256: string;
}

/** Art. 54: when, to whom, of whom, which items, on which notice. */
function* provisionLines(app: AppContext, patient: string | undefined): Generator<Row> {
  yield [
    'provided_at',
    'producer',
    'parcel',
    'sequence',
    'receipt',
    'facility',
    'patient_id',
    'subject_id',
    'record_id',
    'category',
    'op',
    'basis',
    'notice',
    'bytes',
    'sha256',
  ];
  for (const { kind, at, body } of app.store.ledger.entries()) {
    if (kind !== 'provision') continue;
    const { parcel, producer, sequence, receipt } = body as Record<string, string>;
    for (const line of provided(app, parcel ?? '')) {
      if (patient !== undefined && line.patientId !== patient) continue;
      yield [
        isoJst(at),
        producer,
        parcel,
        sequence,
        receipt,
        app.config.facility.code,
        line.patientId,
        line.subjectId,
        line.recordId,
        line.category,
        line.op,
        line.basis,
        line.notice,
        line.bytes,
        line.sha256,
      ];
    }
  }
}

function* provided(app: AppContext, parcel: string): Generator<Provided> {
  const sealed = app.store.ledger.openProvision(parcel);
  if (!sealed) return;
  for (const line of zstdDecompressSync(sealed).toString().split('\n'))
    if (line !== '') yield JSON.parse(line) as Provided;
}

async function writeCsv(path: string, rows: Iterable<Row>): Promise<number> {
  const file = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    if (reasonOf(cause) === 'EEXIST') throw new ConnectorError('ALREADY_EXISTS', { path }, { cause });
    throw new ConnectorError('FILE_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  });
  try {
    let count = -1;
    await file.write(byteOrderMark);
    for (const row of rows) {
      await file.write(`${row.map(cell).join(',')}\r\n`);
      count++;
    }
    await file.sync();
    return count;
  } finally {
    await file.close();
  }
}

/** RFC 4180, and no cell that a spreadsheet would run as a formula. */
function cell(value: Row[number]): string {
  const text = String(value ?? '');
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
