import type { Db, Statement } from '../base/database.ts';
import { type FiledCategory } from '../model/category.ts';
import type { Basis, Filing, SubjectId } from '../model/ports.ts';
import type { DayJst, Instant } from '../model/record.ts';

/** A notice text as it was given to patients: on this basis, about these items, since this day. */
export interface NoticeVersion {
  readonly version: string;
  readonly basis: Basis;
  readonly categories: readonly FiledCategory[];
  readonly from: DayJst;
}

export interface NoticeRow {
  readonly subject: SubjectId;
  readonly version: string;
  readonly notifiedOn: DayJst;
}

/** A stop on one basis, or on all of them. */
export type StopBasis = Basis | 'all';

export interface StopRow {
  readonly id: number;
  readonly subject: SubjectId;
  readonly basis: StopBasis;
  readonly stoppedOn: DayJst;
  readonly recordedAt: Instant;
  readonly withdrawnAt: Instant | null;
}

/** Where register entries come from. Freshness is asked of files once there was a file, else of the command line. */
export type FeedName = 'file' | 'cli';

export interface Feed {
  readonly name: FeedName;
  readonly asOf: Instant;
  readonly rowCount: number;
}

/**
 * What patients were told, what they asked, what was filed. Rows are only ever added (a withdrawal is dated, not
 * deleted). Every method is synchronous and belongs inside the caller's transaction; each change raises the version.
 */
export class Register {
  readonly #db: Db;
  readonly #bump: Statement<[number], { version: number }>;
  readonly #version: Statement<[], number>;
  readonly #blocked: Statement<[], string | null>;
  readonly #addNotice: Statement<[SubjectId, string, DayJst, Instant], unknown>;
  readonly #addStop: Statement<[SubjectId, string, DayJst, Instant], unknown>;
  readonly #stopInForce: Statement<[SubjectId, string], { id: number }>;
  #highest = 0;

  constructor(db: Db) {
    this.#db = db;
    this.#bump = db.prepare('UPDATE register SET version = max(version, ?) + 1 RETURNING version');
    this.#version = db.prepare<[], number>('SELECT version FROM register').pluck();
    this.#blocked = db.prepare<[], string | null>('SELECT blocked FROM register').pluck();
    // A patient told twice of the same version was told on the earlier day.
    this.#addNotice = db.prepare(
      `INSERT INTO notice VALUES (?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET notified_on = excluded.notified_on WHERE excluded.notified_on < notified_on`,
    );
    this.#addStop = db.prepare('INSERT INTO stop(subject, basis, stopped_on, recorded_at) VALUES (?, ?, ?, ?)');
    this.#stopInForce = db.prepare('SELECT id FROM stop WHERE subject = ? AND basis = ? AND withdrawn_at IS NULL');
  }

  version(): number {
    return this.#version.get() ?? 0;
  }

  /** Why a person must look before anything ships, or undefined. */
  blocked(): string | undefined {
    return this.#blocked.get() ?? undefined;
  }

  block(reason: string | undefined): void {
    this.#db.prepare('UPDATE register SET blocked = ?').run(reason ?? null);
    this.#raise();
  }

  addNoticeVersion(notice: NoticeVersion, at: Instant): void {
    this.#db
      .prepare('INSERT INTO notice_version VALUES (?, ?, ?, ?, ?)')
      .run(notice.version, notice.basis, notice.categories.join(','), notice.from, at);
    this.#raise();
  }

  /** As they were known before an instant; without one, all. */
  noticeVersions(before: Instant = Number.POSITIVE_INFINITY): NoticeVersion[] {
    return this.#db
      .prepare<[number], { version: string; basis: Basis; categories: string; from_day: DayJst }>(
        'SELECT version, basis, categories, from_day FROM notice_version WHERE recorded_at < ?',
      )
      .all(before)
      .map(({ from_day: from, ...row }) => ({ ...row, categories: splitCategories(row.categories), from }));
  }

  addFiling(filing: Filing, at: Instant): void {
    this.#db
      .prepare('INSERT INTO filing(producer, basis, categories, from_day, recorded_at) VALUES (?, ?, ?, ?, ?)')
      .run(filing.producer, filing.basis, filing.categories.join(','), filing.from, at);
    this.#raise();
  }

  filings(before: Instant = Number.POSITIVE_INFINITY): Filing[] {
    return this.#db
      .prepare<[number], { producer: string; basis: Basis; categories: string; from_day: DayJst }>(
        'SELECT producer, basis, categories, from_day FROM filing WHERE recorded_at < ? ORDER BY from_day, id',
      )
      .all(before)
      .map(({ from_day: from, ...row }) => ({ ...row, categories: splitCategories(row.categories), from }));
  }

  /** Returns whether anything changed. */
  addNotice({ subject, version, notifiedOn }: NoticeRow, at: Instant): boolean {
    const { changes } = this.#addNotice.run(subject, version, notifiedOn, at);
    if (changes > 0) this.#raise();
    return changes > 0;
  }

  /** Returns the id of the new stop, or undefined when one on this basis is already in force. */
  addStop(stop: { subject: SubjectId; basis: StopBasis; stoppedOn: DayJst }, at: Instant): number | undefined {
    if (this.#stopInForce.get(stop.subject, stop.basis)) return undefined;
    const { lastInsertRowid } = this.#addStop.run(stop.subject, stop.basis, stop.stoppedOn, at);
    this.#raise();
    return Number(lastInsertRowid);
  }

  /** Withdraws every stop in force of these subjects on this basis ('all': every one). Returns how many. */
  withdrawStops(subjects: readonly SubjectId[], basis: StopBasis, at: Instant): number {
    const withdraw = this.#db.prepare<[Instant, SubjectId, string, string], unknown>(
      `UPDATE stop SET withdrawn_at = ? WHERE subject = ? AND withdrawn_at IS NULL AND (? = 'all' OR basis = ?)`,
    );
    const count = subjects.reduce((sum, subject) => sum + withdraw.run(at, subject, basis, basis).changes, 0);
    if (count > 0) this.#raise();
    return count;
  }

  stops(subject: SubjectId): StopRow[] {
    return this.#db
      .prepare<[SubjectId], StopRow>(
        `SELECT id, subject, basis, stopped_on AS stoppedOn, recorded_at AS recordedAt, withdrawn_at AS withdrawnAt
         FROM stop WHERE subject = ? ORDER BY id`,
      )
      .all(subject);
  }

  notices(subject: SubjectId): (NoticeRow & { recordedAt: Instant })[] {
    return this.#db
      .prepare<[SubjectId], NoticeRow & { recordedAt: Instant }>(
        `SELECT subject, version, notified_on AS notifiedOn, recorded_at AS recordedAt
         FROM notice WHERE subject = ? ORDER BY notified_on`,
      )
      .all(subject);
  }

  /** Notes that a feed told its state as of an instant; it never goes back. */
  refresh(feed: Feed, at: Instant): void {
    this.#db
      .prepare(
        `INSERT INTO feed VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
         as_of = max(as_of, excluded.as_of), row_count = excluded.row_count, recorded_at = excluded.recorded_at`,
      )
      .run(feed.name, feed.asOf, feed.rowCount, at);
    this.#raise();
  }

  feed(name: FeedName): Feed | undefined {
    return this.#db
      .prepare<[string], Feed>('SELECT name, as_of AS asOf, row_count AS rowCount FROM feed WHERE name = ?')
      .get(name);
  }

  /** A merge changes verdicts without touching a register row. */
  touch(): void {
    this.#raise();
  }

  /** A number that a rolled-back transaction used is not used again: the gate may remember what it saw under it. */
  #raise(): void {
    this.#highest = this.#bump.get(this.#highest)?.version ?? this.#highest;
  }
}

function splitCategories(text: string): FiledCategory[] {
  return text.split(',') as FiledCategory[];
}
