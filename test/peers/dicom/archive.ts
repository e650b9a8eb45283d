/** A small archive behind a `ScriptedPacs`: it answers from a list of instances and sends them by C-STORE when moved. */
import type { Instance } from './dataset.ts';
import { type Asked, type Line, ScriptedPacs } from './scripted-pacs.ts';
import { RawScu } from './scu.ts';

export interface Held {
  readonly instance: Instance;
  readonly patientId: string;
  readonly studyUid: string;
  readonly seriesUid: string;
  /** YYYYMMDD and HHMMSS; a study without a time is in no window of time. */
  readonly studyDate: string;
  readonly studyTime?: string;
}

export class Archive {
  readonly held: Held[];
  readonly pacs: ScriptedPacs;
  /** Where C-MOVE sends to; 0: nowhere. */
  destinationPort = 0;
  /** Most matches of one answer; after them 0xFE00, or 0x0000 when it says nothing. */
  limit = Number.POSITIVE_INFINITY;
  isSilentAtLimit = false;
  /** False: says success to a C-MOVE and sends nothing. */
  isHonest = true;
  /** Instances that are listed and never sent. */
  readonly lost = new Set<string>();
  /** Whether NumberOf…RelatedInstances are answered. */
  counts = true;
  /** Statuses our acceptor gave. */
  readonly stored: string[] = [];

  private constructor(held: Held[], pacs: ScriptedPacs) {
    this.held = held;
    this.pacs = pacs;
  }

  static async start(held: readonly Held[]): Promise<Archive> {
    const box: { archive?: Archive } = {};
    const pacs = await ScriptedPacs.start((asked, line) => box.archive?.answer(asked, line));
    box.archive = new Archive([...held], pacs);
    return box.archive;
  }

  answer(asked: Asked, line: Line): void {
    if (asked.service === 'echo') line.final(0);
    else if (asked.service === 'find') this.#find(asked, line);
    // 0xA702: unable to perform sub-operations. The destination has gone away.
    else this.#move(asked, line).catch(() => line.final(0xa702));
  }

  /** Requests of one service and level so far. */
  askedCount(service: Asked['service'], level: string): number {
    return this.pacs.asked.filter((asked) => asked.service === service && asked.level === level).length;
  }

  #find({ level, keys }: Asked, line: Line): void {
    const rows = distinct(this.#matching(keys).map((held) => this.#row(level, held)));
    for (const row of rows.slice(0, this.limit)) line.pending(row);
    line.final(rows.length > this.limit && !this.isSilentAtLimit ? 0xfe00 : 0);
  }

  #row(level: string, held: Held): Record<string, string> {
    const { studyUid, seriesUid, patientId, instance } = held;
    const count = (same: (other: Held) => boolean) => (this.counts ? String(this.held.filter(same).length) : '');
    if (level === 'STUDY') {
      const related = count((other) => other.studyUid === studyUid);
      return { StudyInstanceUID: studyUid, PatientID: patientId, NumberOfStudyRelatedInstances: related };
    }
    if (level === 'SERIES') {
      const related = count((other) => other.seriesUid === seriesUid);
      return { StudyInstanceUID: studyUid, SeriesInstanceUID: seriesUid, NumberOfSeriesRelatedInstances: related };
    }
    return { StudyInstanceUID: studyUid, SeriesInstanceUID: seriesUid, SOPInstanceUID: instance.sopInstanceUid };
  }

  async #move({ keys }: Asked, line: Line): Promise<void> {
    const sent = this.isHonest
      ? this.#matching(keys).filter((held) => !this.lost.has(held.instance.sopInstanceUid))
      : [];
    for (const { instance } of sent) {
      const { sopClassUid: abstractSyntax, transferSyntaxUid } = instance;
      const contexts = [{ id: 1, abstractSyntax, transferSyntaxes: [transferSyntaxUid] }];
      const scu = await RawScu.associate(this.destinationPort, { contexts, callingAe: 'ARCHIVE' });
      this.stored.push(await scu.store(instance, { moveOriginator: 'KAKEHASHI' }));
      await scu.release();
    }
    line.final(0, { completed: sent.length, failed: 0 });
  }

  #matching(keys: Asked['keys']): Held[] {
    const isOneOf = (list: string | undefined, value: string) => !list || list.split('\\').includes(value);
    return this.held.filter(
      (held) =>
        isOneOf(keys['StudyDate'], held.studyDate) &&
        isWithin(keys['StudyTime'], held.studyTime) &&
        isOneOf(keys['StudyInstanceUID'], held.studyUid) &&
        isOneOf(keys['SeriesInstanceUID'], held.seriesUid) &&
        isOneOf(keys['SOPInstanceUID'], held.instance.sopInstanceUid),
    );
  }
}

function isWithin(range: string | undefined, time: string | undefined): boolean {
  if (!range) return true;
  const [from = '', to = ''] = range.split('-');
  return time !== undefined && time >= from && time <= to;
}

function distinct(rows: readonly Record<string, string>[]): Record<string, string>[] {
  return [...new Map(rows.map((row) => [JSON.stringify(row), row])).values()];
}
