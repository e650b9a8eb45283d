/**
 * The invented patients of the demo, and what the register says of each. Their numbers and names are the canaries as
 * well: rare enough that a file which holds one of them holds a patient.
 */
import type { FiledCategory } from '../../agent/model/category.ts';
import { daysAgo } from '../peers/hospital/hospital.ts';
import type { Person } from '../peers/hospital/messages.ts';
import type { Fate, Offered } from './accounting.ts';

export type Role =
  | 'eligible'
  | 'labs-only'
  | 'waiting'
  | 'stopped'
  | 'unknown'
  | 'merged'
  | 'stops-later'
  | 'stops-in-upload';

export interface Patient extends Person {
  readonly role: Role;
  /** Latin letters, `Family^Given`, as DICOM wants them in front. */
  readonly latin: string;
  readonly birthDate: string;
  readonly sex: 'M' | 'F';
}

export const basis = 'article-57';

/** What this hospital and its producer filed, and what the full notice tells. */
export const filedCategories = [
  'demographics',
  'insurance',
  'encounter',
  'diagnosis',
  'allergy',
  'prescription',
  'injection',
  'diet',
  'lab-order',
  'lab-result',
  'exam-order',
  'exam-result',
  'procedure',
  'observation',
  'document',
  'image',
] as const satisfies readonly FiledCategory[];

export const notices = {
  full: { version: '2025-full', categories: filedCategories },
  labs: { version: '2025-labs', categories: ['lab-result'] },
} as const;

/** Waiting days are 31: who was told ten days ago waits for three more weeks. */
const waitingDays = 10;

export const patients = {
  tsuru: patient('eligible', '7741000016', '鶴見沢^太郎', 'ツルミサワ^タロウ', 'Tsurumisawa^Tarou', '1951-04-03', 'M'),
  hoshi: patient(
    'eligible',
    '7741000024',
    '星降谷^花子',
    'ホシフリダニ^ハナコ',
    'Hoshifuridani^Hanako',
    '1968-11-23',
    'F',
  ),
  labs: patient(
    'labs-only',
    '7741000032',
    '霧島坂^一郎',
    'キリシマザカ^イチロウ',
    'Kirishimazaka^Ichirou',
    '1974-02-28',
    'M',
  ),
  waits: patient(
    'waiting',
    '7741000040',
    '雲雀丘^春子',
    'ヒバリガオカ^ハルコ',
    'Hibarigaoka^Haruko',
    '1990-07-07',
    'F',
  ),
  stopped: patient(
    'stopped',
    '7741000057',
    '鷺沼原^次郎',
    'サギヌマハラ^ジロウ',
    'Saginumahara^Jirou',
    '1945-08-15',
    'M',
  ),
  unknown: patient(
    'unknown',
    '7741000065',
    '蛍ヶ池^夏子',
    'ホタルガイケ^ナツコ',
    'Hotarugaike^Natsuko',
    '2001-01-09',
    'F',
  ),
  merged: patient('merged', '7741000073', '鶴見沢^太郎', 'ツルミサワ^タロウ', 'Tsurumisawa^Tarou', '1951-04-03', 'M'),
  later: patient(
    'stops-later',
    '7741000081',
    '椿坂上^秋子',
    'ツバキザカウエ^アキコ',
    'Tsubakizakaue^Akiko',
    '1959-10-01',
    'F',
  ),
  mid: patient(
    'stops-in-upload',
    '7741000099',
    '萩尾崎^冬彦',
    'ハギオザキ^フユヒコ',
    'Hagiozaki^Fuyuhiko',
    '1982-12-31',
    'M',
  ),
} as const satisfies Record<string, Patient>;

export const cast: readonly Patient[] = Object.values(patients);

/** Whose number `merged` is: the same person, who had two. */
export const mergedInto = patients.tsuru;

function patient(
  role: Role,
  id: string,
  kanji: string,
  kana: string,
  latin: string,
  birthDate: string,
  sex: 'M' | 'F',
): Patient {
  return { role, id, kanji, kana, latin, birthDate, sex, address: '東京都架空区鳴神台1-2-3' };
}

/** Register rows without their last column; nobody who is `unknown` or `merged` has one. */
export function registerRows(): string[] {
  return cast.flatMap(({ id, role }) => {
    const told = (version: string, days: number, stopped = '') =>
      `${id},${basis},${version},${daysAgo(days)},${stopped}`;
    if (role === 'unknown' || role === 'merged') return [];
    if (role === 'labs-only') return [told(notices.labs.version, 90)];
    if (role === 'waiting') return [told(notices.full.version, waitingDays)];
    if (role === 'stopped') return [told(notices.full.version, 90, daysAgo(20))];
    return [told(notices.full.version, 90)];
  });
}

/** What must become of a record of this patient, once the merge is known. */
export function fateOf({ role }: Patient, category: FiledCategory): Fate {
  if (role === 'stopped') return 'refused';
  if (role === 'waiting' || role === 'unknown') return 'held';
  if (role === 'labs-only') return category === 'lab-result' ? 'delivered' : 'held';
  return 'delivered';
}

/** The same where it is we who ask: what may not leave is not even read. */
export function polledFateOf(patient: Patient, category: FiledCategory): Pick<Offered, 'fate' | 'isUnread'> {
  const fate = fateOf(patient, category);
  if (fate === 'delivered') return { fate };
  return { fate: fate === 'held' ? 'deferred' : fate, isUnread: true };
}

export const roleWords: Readonly<Record<Role, string>> = {
  eligible: 'told 90 days ago; may be provided',
  'labs-only': 'told of lab results only',
  waiting: `told ${waitingDays} days ago; 31 days must pass`,
  stopped: 'has said no',
  unknown: 'not in the register',
  merged: 'not in the register; an ADT^A40 will say who it is',
  'stops-later': 'may be provided; will say no after delivery',
  'stops-in-upload': 'may be provided; will say no in mid-upload',
};
