/**
 * Paths and names of the standardized storage (SS-MIX2 guideline 1.2h):
 *
 * ```
 * <root>/<pid[0:3]>/<pid[3:6]>/<pid>/<care date YYYYMMDD | ->/<data type>/<file>
 * file = <pid>_<care date | ->_<data type>_<order no>_<time>_<department | ->_<condition flag>
 * ```
 * Seven fields without an extension. They are read from the right, where none of them can hold a `_`; what is left is
 * the patient's number. Lengths are those seen and not those written: order numbers of 13 digits and times of 15 lie
 * in official samples. Folder and name say the same thing twice, and a file where they differ has two owners: whose
 * it is, only a person can say.
 */
import { isoTime } from '../../base/hl7/text.ts';

/** `1` valid, `2` superseded, `0` deleted. State, not identity: the writer renames the file to change it. */
export type ConditionFlag = '0' | '1' | '2';

/** A folder of one data type, by what its path says. */
export interface Place {
  readonly patientId: string;
  /** `YYYYMMDD`, or `-` for what has no care date. */
  readonly careDate: string;
  readonly dataType: string;
}

export interface FileName extends Place {
  readonly orderNumber: string;
  /** `YYYYMMDDHHMMSSFFF`, or a beginning of it with at least the seconds. Japan's time. */
  readonly time: string;
  /** `-` where there is none. */
  readonly department: string;
  readonly flag: ConditionFlag;
}

/** Longest patient number: CX.1 as NHO relaxes it. */
const patientIdPattern = /^[0-9A-Za-z-]{1,30}$/;
const dataTypePattern = /^[A-Z]{3}(?:-\d{2})?$/;
/** 15 digits by the guideline; 13 are seen, and the index database has room for 22. */
const orderNumberPattern = /^\d{13,22}$/;
/** 17 digits by the guideline; one official sample has 15. */
const timePattern = /^\d{14,17}$/;
const departmentPattern = /^[^_\s]{1,20}$/;

const fieldCount = 7;

/** Undefined for a name that does not follow the grammar. */
export function parseFileName(name: string): FileName | undefined {
  const fields = name.split('_');
  if (fields.length < fieldCount) return undefined;
  const [careDate = '', dataType = '', orderNumber = '', time = '', department = '', flag = ''] = fields.slice(-6);
  const patientId = fields.slice(0, -6).join('_');
  const isGood =
    isPatientId(patientId) &&
    isCareDate(careDate) &&
    dataTypePattern.test(dataType) &&
    orderNumberPattern.test(orderNumber) &&
    timeOf(time) !== undefined &&
    departmentPattern.test(department) &&
    isFlag(flag);
  return isGood ? { patientId, careDate, dataType, orderNumber, time, department, flag } : undefined;
}

function isFlag(text: string): text is ConditionFlag {
  return text === '0' || text === '1' || text === '2';
}

/** A day that exists, or the `-` of what has none. */
export function isCareDate(text: string): boolean {
  return text === '-' || (/^\d{8}$/.test(text) && isoTime(text) !== undefined);
}

/** ISO 8601 with Japan's offset, or undefined for what is no time. */
export function timeOf(time: string): string | undefined {
  if (!timePattern.test(time)) return undefined;
  const fraction = time.slice(14);
  return isoTime(fraction === '' ? time : `${time.slice(0, 14)}.${fraction}`);
}

/** Whether a folder's name could be a patient's number. */
export function isPatientId(text: string): boolean {
  return patientIdPattern.test(text);
}

/** The three folders that a patient's number makes: `999/901/9999013`. */
export function isPatientFolder([first, second, patientId]: readonly string[]): boolean {
  return patientId !== undefined && first === patientId.slice(0, 3) && second === patientId.slice(3, 6);
}

export function isIn(place: Place, name: FileName): boolean {
  return name.patientId === place.patientId && name.careDate === place.careDate && name.dataType === place.dataType;
}

/** What an update or a delete names: all versions of one order, or of one fact about the patient. */
export function logicalKey({ patientId, careDate, dataType, orderNumber }: FileName): string {
  return `${patientId}|${careDate}|${dataType}|${orderNumber}`;
}

export function versionKey(name: FileName): string {
  return `${logicalKey(name)}|${name.time}|${name.department}`;
}

/**
 * Care dates not before `since`; and `-` with them, or when there is nothing else: what has no date (who the patient
 * is, diagnoses, allergies) changes when the patient comes. The rest of the `-` folders is left to the slice.
 */
export function recentOf(dates: readonly string[], since: string): readonly string[] {
  const recent = dates.filter((date) => date >= since && date !== '-' && isCareDate(date));
  const isActive = recent.length > 0 || dates.every((date) => date === '-');
  return isActive && dates.includes('-') ? ['-', ...recent] : recent;
}
