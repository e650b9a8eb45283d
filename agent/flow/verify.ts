import { createHash } from 'node:crypto';
import { isError, reasonOf } from '../model/errors.ts';
import type { LedgerHead } from '../model/wire.ts';
import type { Store } from './store.ts';

export interface BufferCheck {
  /** Payloads opened and compared with the digest they were taken with. */
  readonly records: number;
  /** Row numbers of those that do not open or do not match. */
  readonly damaged: readonly number[];
  readonly ledgerHead: LedgerHead;
}

/** Rows looked at in one query; with tombstones among them it must stay short. */
const pageRows = 500;

/**
 * Opens every payload the buffer held when it began, compares its digest, and walks the ledger. Changes nothing.
 *
 * @throws ConnectorError STATE_UNSAFE when SQLite itself finds damage; LEDGER_BROKEN
 */
export async function verifyBuffer(
  store: Store,
  signal: AbortSignal,
  progress: (done: number, total: number) => void,
): Promise<BufferCheck> {
  const total = store.records.lastRow();
  const damaged: number[] = [];
  let records = 0;
  for (let after = 0; after < total && !signal.aborted; after += pageRows) {
    const page = store.records.presentPage(after, pageRows);
    for (const row of page) if (!(await isWhole(store, row))) damaged.push(row);
    records += page.length;
    progress(Math.min(after + pageRows, total), total);
  }
  return { records, damaged, ledgerHead: store.ledger.verify() };
}

async function isWhole(store: Store, row: number): Promise<boolean> {
  try {
    const facts = store.records.facts(row);
    const body = store.records.body(row);
    // Destroyed between the page and now, by a receipt or a stop.
    if (!facts || body === undefined) return true;
    const hash = createHash('sha256');
    if (body instanceof Uint8Array) hash.update(body);
    else for await (const chunk of body) hash.update(chunk);
    return hash.digest('hex') === facts.sha256;
  } catch (error) {
    if (isError(error, 'SEAL_BROKEN') || reasonOf(error) === 'ENOENT') return false;
    throw error;
  }
}
