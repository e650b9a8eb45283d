import { parse } from 'csv-parse/sync';
import { isDay, startOfDayJst } from '../base/clock.ts';
import { ConnectorError } from '../model/errors.ts';
import { type Basis, bases } from '../model/ports.ts';
import type { DayJst, Instant } from '../model/record.ts';
import type { StopBasis } from './register.ts';

/** The columns, in this order; a file with any other header is refused whole. */
export const registerColumns = ['patient_id', 'basis', 'notice', 'notified_on', 'stopped_on', 'as_of'] as const;
type Column = (typeof registerColumns)[number];

/** A register of a million patients is 60 MB; more is not a register. */
const fileBytesMax = 256 * 1024 * 1024;

/** Room for clocks that differ, not for a register of next week. */
const asOfAheadMsMax = 24 * 3_600_000;

export interface RegisterRow {
  readonly line: number;
  readonly patientId: string;
  readonly notified?: { readonly notice: string; readonly on: DayJst };
  readonly stopped?: { readonly basis: StopBasis; readonly on: DayJst };
}

/** Why one row was not taken. Shown with its line number, never with what stands in it. */
export type RowFault =
  | 'COLUMNS'
  | 'PATIENT_ID'
  | 'BASIS'
  | 'NOTICE_UNKNOWN'
  | 'NOTICE_BASIS'
  | 'NOTIFIED_ON'
  | 'STOPPED_ON'
  | 'AS_OF'
  | 'NOTHING';

export interface RegisterFile {
  readonly rows: readonly RegisterRow[];
  readonly rejected: readonly { readonly line: number; readonly fault: RowFault }[];
  /** The instant the file speaks for: the earliest `as_of` in it. */
  readonly asOf: Instant;
  /** A row that may have been a stop could not be understood: nothing may leave until a person has looked. */
  readonly hasUnreadableStop: boolean;
  /** Only `as_of`: nothing has changed since the last file. */
  readonly isNoChange: boolean;
}

/** What is known of the notices a row may name: version to basis. */
export type KnownNotices = ReadonlyMap<string, Basis>;

/**
 * Reads a register file: UTF-8 (with or without BOM) or CP932, comma separated, one patient and basis a row. Absence
 * of a patient means nothing. The no-change form is one row with only `as_of`.
 *
 * @throws ConnectorError REGISTER_UNREADABLE, REGISTER_HEADER, REGISTER_NOT_DATED - the whole file is refused.
 */
export function parseRegisterFile(bytes: Uint8Array, notices: KnownNotices, now: Instant): RegisterFile {
  const [header, ...lines] = readLines(bytes);
  if (header?.cells.join(',') !== registerColumns.join(',')) {
    throw new ConnectorError('REGISTER_HEADER', { expected: registerColumns.join(',') });
  }
  const read = lines.map(({ cells, line }) => readRow(cells, { line, notices, now }));
  const dated = read.filter((row) => row.asOf !== undefined).map((row) => row.asOf as Instant);
  if (dated.length === 0) throw new ConnectorError('REGISTER_NOT_DATED', {});
  return {
    rows: read.flatMap(({ row }) => row ?? []),
    rejected: read.flatMap(({ fault, line }) => (fault ? [{ line, fault }] : [])),
    // Not Math.min(...dated): a million arguments are too many.
    asOf: dated.reduce((least, at) => Math.min(least, at), Number.POSITIVE_INFINITY),
    hasUnreadableStop: read.some((row) => row.fault !== undefined && row.maybeStop),
    isNoChange: read.every((row) => row.isNoChange),
  };
}

/** Cells, and the number an editor shows beside them: blank lines count, and a quoted cell may hold line ends. */
interface Line {
  readonly cells: readonly string[];
  readonly line: number;
}

function readLines(bytes: Uint8Array): Line[] {
  if (bytes.length > fileBytesMax) {
    throw new ConnectorError('REGISTER_UNREADABLE', { reason: `it is larger than ${fileBytesMax} bytes` });
  }
  try {
    const options = { bom: true, info: true, relax_column_count: true, skip_empty_lines: true, trim: true } as const;
    const read = parse(decode(bytes), options) as unknown as { record: string[]; info: { lines: number } }[];
    return read.map(({ record, info }) => ({ cells: record, line: info.lines }));
  } catch (cause) {
    throw new ConnectorError('REGISTER_UNREADABLE', { reason: 'its quotes or separators do not match' }, { cause });
  }
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    // Not UTF-8, so it is what Excel in Japan saves: CP932. Ids and dates are ASCII in either.
    return new TextDecoder('shift_jis').decode(bytes);
  }
}

interface ReadRow {
  readonly line: number;
  readonly row?: RegisterRow;
  readonly fault?: RowFault;
  readonly maybeStop: boolean;
  readonly isNoChange: boolean;
  readonly asOf?: Instant;
}

function readRow(cells: readonly string[], at: { line: number; notices: KnownNotices; now: Instant }): ReadRow {
  const { line } = at;
  // With the wrong number of columns nobody can tell whether the row was a stop.
  if (cells.length !== registerColumns.length) return { line, fault: 'COLUMNS', maybeStop: true, isNoChange: false };
  const cell = (name: Column) => cells[registerColumns.indexOf(name)] ?? '';
  const maybeStop = cell('stopped_on') !== '';
  const asOf = readAsOf(cell('as_of'), at.now);
  const isNoChange = asOf !== undefined && cells.filter((text) => text !== '').length === 1;
  const base = { line, maybeStop, isNoChange, ...(asOf !== undefined && { asOf }) };
  if (asOf === undefined) return { ...base, fault: 'AS_OF' };
  if (isNoChange) return base;
  const row = understand(cell, at);
  return typeof row === 'string' ? { ...base, fault: row } : { ...base, row };
}

function understand(
  cell: (name: Column) => string,
  { line, notices }: { line: number; notices: KnownNotices },
): RegisterRow | RowFault {
  const [patientId, basis, notice] = [cell('patient_id'), cell('basis'), cell('notice')];
  const [notifiedOn, stoppedOn] = [cell('notified_on'), cell('stopped_on')];
  if (patientId === '' || patientId.length > 64) return 'PATIENT_ID';
  if (notifiedOn === '' && stoppedOn === '') return 'NOTHING';
  if (stoppedOn !== '' && !isDay(stoppedOn)) return 'STOPPED_ON';
  const stopBasis = stopBasisOf(basis);
  if (!stopBasis || (notifiedOn !== '' && stopBasis === 'all')) return 'BASIS';
  if (notifiedOn !== '' && !isDay(notifiedOn)) return 'NOTIFIED_ON';
  if (notifiedOn !== '' && !notices.has(notice)) return 'NOTICE_UNKNOWN';
  if (notifiedOn !== '' && notices.get(notice) !== basis) return 'NOTICE_BASIS';
  return {
    line,
    patientId,
    ...(notifiedOn !== '' && { notified: { notice, on: notifiedOn } }),
    ...(stoppedOn !== '' && { stopped: { basis: stopBasis, on: stoppedOn } }),
  };
}

/** An empty basis beside a stop means all of them: the broader reading is the safe one. */
function stopBasisOf(text: string): StopBasis | undefined {
  if (text === '' || text === 'all') return 'all';
  return (bases as readonly string[]).includes(text) ? (text as Basis) : undefined;
}

/** A day (its beginning in Asia/Tokyo) or an ISO instant with offset; undefined for anything else, or the future. */
function readAsOf(text: string, now: Instant): Instant | undefined {
  const at = isDay(text) ? startOfDayJst(text) : isInstant(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) || at > now + asOfAheadMsMax ? undefined : at;
}

function isInstant(text: string): boolean {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)$/.test(text);
}
