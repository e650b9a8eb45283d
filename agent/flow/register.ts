import { type Feed, type NoticeVersion } from '../gate/register.ts';
import type { RegisterFile, RegisterRow } from '../gate/register-file.ts';
import { ConnectorError } from '../model/errors.ts';
import type { Filing } from '../model/ports.ts';
import type { DayJst, PatientName } from '../model/record.ts';
import { refreshSubjects } from './refresh.ts';
import { recordStops } from './stop.ts';
import { type AfterCommit, allAfter, type Store } from './store.ts';

/** Rows taken in one transaction: a few milliseconds, so that intake is not held up by a list of 100,000. */
const rowsPerTransaction = 500;

/** Stops taken in one: each destroys what is here of a patient, which takes a few milliseconds more. */
const stopsPerTransaction = 16;

/** A file with fewer than this part of the rows of the one before is taken for a broken export. */
const shrinkFloor = 0.8;
/** Below so many rows a few patients fewer is ordinary. */
const shrinkRowsMin = 20;

/** @throws ConnectorError NOTICE_EXISTS */
export function addNoticeVersion(store: Store, notice: NoticeVersion, via: string): void {
  store.db
    .transaction(() => {
      const at = store.time.now();
      const isKnown = store.register.noticeVersions().some(({ version }) => version === notice.version);
      if (isKnown) throw new ConnectorError('NOTICE_EXISTS', { version: notice.version });
      store.register.addNoticeVersion(notice, at);
      refreshByHand(store);
      store.ledger.append('notice-version', at, { ...notice, via });
    })
    .immediate();
}

/** What was filed with the ministers (Art. 52, 57). From its day on it is the whole list of items for that producer. */
export function addFiling(store: Store, filing: Filing, via: string): void {
  store.db
    .transaction(() => {
      const at = store.time.now();
      store.register.addFiling(filing, at);
      refreshByHand(store);
      store.ledger.append('filing', at, { ...filing, via });
    })
    .immediate();
}

/** One patient was told. @throws ConnectorError NOTICE_UNKNOWN */
export function notify(
  store: Store,
  { name, version, on, via }: { name: PatientName; version: string; on: DayJst; via: string },
): void {
  store.db
    .transaction(() => {
      const at = store.time.now();
      const isKnown = store.register.noticeVersions().some((notice) => notice.version === version);
      if (!isKnown) throw new ConnectorError('NOTICE_UNKNOWN', { version });
      const subject = store.subjects.ensure(name);
      store.register.addNotice({ subject, version, notifiedOn: on }, at);
      refreshByHand(store);
      const body = { subject: store.subjects.publicId(subject), patientId: name.id, version, on, via };
      store.ledger.append('notice', at, body);
      refreshSubjects(store, store.subjects.family(subject));
    })
    .immediate();
}

/** Entries by hand keep a register fresh that is kept by hand. */
function refreshByHand(store: Store): void {
  const at = store.time.now();
  store.register.refresh({ name: 'cli', asOf: at, rowCount: 0 }, at);
}

export interface ImportOptions {
  readonly acceptShrink?: boolean;
  /** Where the report of rejected rows lies, for the message. */
  readonly report: string;
  readonly via: string;
  /** From a patient id as the file has it to the name the register knows. */
  readonly nameOf: (patientId: string) => PatientName;
  /** Awaited between transactions. */
  readonly pause: (done: number) => Promise<void>;
  readonly finish: (after: AfterCommit) => Promise<void>;
}

export interface ImportResult {
  readonly notices: number;
  readonly stops: number;
  readonly rejected: number;
  readonly isBlocked: boolean;
}

/**
 * Takes a register file: stops first, then notices, in slices; its `as_of` last, so that a crash in the middle leaves
 * the old freshness and the file is read again. Everything in it is harmless twice.
 *
 * @throws ConnectorError REGISTER_SHRUNK - nothing was taken.
 */
export async function importRegister(store: Store, file: RegisterFile, options: ImportOptions): Promise<ImportResult> {
  const previous = store.register.feed('file');
  // First of all: whatever else happens with this file, nothing leaves while a stop may be hidden in it.
  if (file.hasUnreadableStop) block(store, file, options);
  refuseShrunk(file, previous, options);
  let done = 0;
  const count = { notices: 0, stops: 0 };
  const stopsFirst = file.rows.toSorted((a, b) => Number(b.stopped !== undefined) - Number(a.stopped !== undefined));
  for (let start = 0; start < stopsFirst.length; start += rowsPerTransaction) {
    const slice = stopsFirst.slice(start, start + rowsPerTransaction);
    count.stops += await takeStops(store, slice, options);
    count.notices += takeNotices(store, slice, options);
    done += slice.length;
    await options.pause(done);
  }
  concludeImport(store, file, previous, options, count);
  return { ...count, rejected: file.rejected.length, isBlocked: store.register.blocked() !== undefined };
}

function refuseShrunk(file: RegisterFile, previous: Feed | undefined, { acceptShrink }: ImportOptions): void {
  if (!previous || file.isNoChange || acceptShrink || previous.rowCount < shrinkRowsMin) return;
  const rows = file.rows.length + file.rejected.length;
  if (rows < previous.rowCount * shrinkFloor) {
    throw new ConnectorError('REGISTER_SHRUNK', { rows, previous: previous.rowCount });
  }
}

function block(store: Store, file: RegisterFile, { report }: ImportOptions): void {
  store.db.transaction(() => store.register.block(`${file.rejected.length} ${report}`)).immediate();
  store.report({ name: 'register.refused', code: 'REGISTER_BLOCKED', numbers: { rows: file.rejected.length } });
}

async function takeStops(store: Store, rows: readonly RegisterRow[], options: ImportOptions): Promise<number> {
  const requests = rows.flatMap(({ stopped, patientId }) => {
    if (!stopped) return [];
    const name = options.nameOf(patientId);
    if (isStopped(store, name, stopped.basis)) return [];
    return [{ name, basis: stopped.basis, stoppedOn: stopped.on, via: options.via }];
  });
  let count = 0;
  for (let start = 0; start < requests.length; start += stopsPerTransaction) {
    const results = recordStops(store, requests.slice(start, start + stopsPerTransaction));
    // Together, so that every upload is broken off before anything else is done.
    await options.finish(allAfter(results.map(({ after }) => after)));
    count += results.filter(({ isNew }) => isNew).length;
  }
  return count;
}

/** Spares the journal a line for every stop of every day's full list. */
function isStopped(store: Store, name: PatientName, basis: string): boolean {
  const subject = store.subjects.find(name);
  if (subject === undefined) return false;
  return store.register.stops(subject).some((stop) => stop.basis === basis && stop.withdrawnAt === null);
}

function takeNotices(store: Store, rows: readonly RegisterRow[], { nameOf }: ImportOptions): number {
  return store.db
    .transaction(() => {
      const at = store.time.now();
      let told = 0;
      for (const { notified, patientId } of rows) {
        if (!notified) continue;
        const subject = store.subjects.ensure(nameOf(patientId));
        if (store.register.addNotice({ subject, version: notified.notice, notifiedOn: notified.on }, at)) told++;
      }
      return told;
    })
    .immediate();
}

function concludeImport(
  store: Store,
  file: RegisterFile,
  previous: Feed | undefined,
  { via }: ImportOptions,
  count: { notices: number; stops: number },
): void {
  store.db
    .transaction(() => {
      const at = store.time.now();
      const rowCount = file.isNoChange ? (previous?.rowCount ?? 0) : file.rows.length + file.rejected.length;
      store.register.refresh({ name: 'file', asOf: file.asOf, rowCount }, at);
      // A whole list without a doubtful row says what the doubtful row meant.
      if (!file.hasUnreadableStop && !file.isNoChange && store.register.blocked()) {
        store.register.block(undefined);
        store.ledger.append('unblock', at, { via });
      }
      store.ledger.append('import', at, {
        ...count,
        rows: rowCount,
        rejected: file.rejected.length,
        asOf: file.asOf,
        via,
      });
    })
    .immediate();
}
