/**
 * Which studies of a day a PACS has, although many a PACS answers a wide question with a part of the answer: with
 * 0xFE00 or A700 at its limit, or with 0x0000 and nothing said.
 *
 * A day that may be cut is asked again by hours, an hour by minutes. A study without a time is in no hour, so what the
 * day itself gave is always part of the result. Date and time are two keys that are matched independently (PS3.4
 * section C.2.2.2.5.4), which is why a window never crosses midnight.
 */
import type { DayJst } from '../../model/record.ts';
import { ConnectorError } from '../../model/errors.ts';
import { hex, type FindResult, type Pacs, type Row } from './pacs.ts';

export interface StudyRow {
  readonly studyInstanceUid: string;
  readonly patientId: string;
  readonly issuer: string;
  /** NumberOfStudyRelatedInstances where the PACS says it. */
  readonly instanceCount: number | undefined;
}

export interface Discovery {
  readonly studies: readonly StudyRow[];
  /** False when even a minute's answer was cut. */
  readonly isWhole: boolean;
}

/** Numbers at which a PACS may have stopped without saying so; a real day that has exactly so many costs 24 questions. */
const suspiciousCounts: ReadonlySet<number> = new Set([100, 200, 250, 300, 400, 500, 1000, 2000, 2500, 5000, 10_000]);

const keys = {
  StudyInstanceUID: '',
  PatientID: '',
  IssuerOfPatientID: '',
  NumberOfStudyRelatedInstances: '',
} as const;

/** Minutes of the day from and to, both included. */
interface TimeRange {
  readonly from: number;
  readonly to: number;
}

export class Discoverer {
  readonly #pacs: Pacs;
  /** Answers of just this many rows are cut, as seen before. */
  limit: number | undefined;

  constructor(pacs: Pacs, limit: number | undefined) {
    this.#pacs = pacs;
    this.limit = limit;
  }

  /** @throws ConnectorError PACS_… */
  async studiesOf(day: DayJst, signal: AbortSignal): Promise<Discovery> {
    const found = new Map<string, StudyRow>();
    const isWhole = await this.#collect(day, undefined, found, signal);
    return { studies: [...found.values()], isWhole };
  }

  /** Whether an answer may be only the beginning of one. */
  isCut({ status, rows }: FindResult): boolean {
    return status !== 0 || rows.length === this.limit;
  }

  async #collect(
    day: DayJst,
    range: TimeRange | undefined,
    found: Map<string, StudyRow>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const StudyDate = day.replaceAll('-', '');
    const answer = await this.#pacs.find('STUDY', { ...keys, StudyDate, ...timeKey(range) }, signal);
    const sizeBefore = found.size;
    for (const row of answer.rows) addStudy(row, found);
    const isSuspicious = suspiciousCounts.has(answer.rows.length);
    if (!this.isCut(answer) && !isSuspicious) return true;
    if (answer.status !== 0 && answer.rows.length === 0 && range) throw refused(this.#pacs, answer.status);
    let isWhole = true;
    const parts = partsOf(range);
    for (const part of parts) isWhole = (await this.#collect(day, part, found, signal)) && isWhole;
    const hasMore = found.size > sizeBefore + answer.rows.length;
    if (answer.rows.length > 0 && (answer.status !== 0 || hasMore)) this.limit = answer.rows.length;
    return parts.length > 0 ? isWhole : !this.isCut(answer);
  }
}

function refused(pacs: Pacs, status: number): ConnectorError {
  return new ConnectorError('PACS_FAILED', { peer: pacs.address, service: 'C-FIND', status: hex(status) });
}

/** A day has hours, an hour minutes, a minute nothing. */
function partsOf(range: TimeRange | undefined): TimeRange[] {
  if (!range) return Array.from({ length: 24 }, (_, hour) => ({ from: hour * 60, to: hour * 60 + 59 }));
  if (range.from === range.to) return [];
  return Array.from({ length: range.to - range.from + 1 }, (_, minute) => ({
    from: range.from + minute,
    to: range.from + minute,
  }));
}

function timeKey(range: TimeRange | undefined): { StudyTime?: string } {
  if (!range) return {};
  const text = (minute: number) =>
    `${String(Math.floor(minute / 60)).padStart(2, '0')}${String(minute % 60).padStart(2, '0')}`;
  return { StudyTime: `${text(range.from)}00-${text(range.to)}59.999999` };
}

function addStudy(row: Row, found: Map<string, StudyRow>): void {
  const { StudyInstanceUID = '', PatientID = '', IssuerOfPatientID = '' } = row;
  if (StudyInstanceUID === '') return;
  found.set(StudyInstanceUID, {
    studyInstanceUid: StudyInstanceUID,
    patientId: PatientID,
    issuer: IssuerOfPatientID,
    instanceCount: countOf(row['NumberOfStudyRelatedInstances']),
  });
}

export function countOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}
