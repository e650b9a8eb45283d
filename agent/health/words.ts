/** The closed lists health speaks in, and how people read them. Nothing else can become a value in a heartbeat. */
import type { HoldReason } from '../model/ports.ts';
import { type SourceConfig, sourceKinds as definitions } from '../source/registry.ts';
import type { Distrust } from './trusted-clock.ts';

/** One thing said in both languages. */
export interface Bilingual {
  readonly en: string;
  readonly ja: string;
}

export const stateWords = ['ok', 'attention', 'paused', 'stopped-by-fault', 'safe'] as const;
export type StateWord = (typeof stateWords)[number];

export const stateNames: Readonly<Record<StateWord, Bilingual>> = {
  ok: { en: 'OK', ja: '正常' },
  attention: { en: 'ATTENTION', ja: '要確認' },
  paused: { en: 'PAUSED', ja: '一時停止中' },
  'stopped-by-fault': { en: 'STOPPED BY A FAULT', ja: '障害停止' },
  safe: { en: 'SAFE MODE', ja: '安全モード' },
};

export type SourceKind = SourceConfig['kind'];
export const sourceKinds: readonly SourceKind[] = definitions.map(({ kind }) => kind);

/** Whose work something is; the same three as in `check --live`. */
export type Doer = 'hospital IT' | 'vendor' | 'producer';

export const doerNames: Readonly<Record<Doer, Bilingual>> = {
  'hospital IT': { en: 'Hospital IT', ja: '病院の情報システム担当' },
  vendor: { en: 'The vendor, when asked by you', ja: '接続先システムのベンダー（病院から依頼）' },
  producer: { en: 'The producer, when asked by you', ja: '認定事業者（病院から依頼）' },
};

export const distrustNames: Readonly<Record<Distrust, Bilingual>> = {
  unconfirmed: { en: 'no producer has confirmed it yet', ja: '事業者との照合がまだ' },
  stepped: { en: 'it was moved', ja: '時刻が変更された' },
  ahead: { en: 'it is ahead', ja: '進んでいる' },
  behind: { en: 'it is behind', ja: '遅れている' },
  'below-high-water': { en: 'it went back', ja: '過去に戻った' },
};

/** Why a delivery is held, and with it what ends that. */
export const holdReasonNames: Readonly<Record<HoldReason, Bilingual>> = {
  'no-register': { en: 'no register of notices yet', ja: '通知台帳がまだない' },
  'register-stale': { en: 'the register of notices is too old', ja: '通知台帳が古い' },
  'clock-untrusted': { en: 'the clock is not trusted', ja: '時計を信頼できない' },
  'not-notified': { en: 'the patient has not been notified', ja: '患者への通知がまだない' },
  waiting: { en: 'the days after the notice are not over', ja: '通知後の待機日数がまだ過ぎていない' },
  'category-not-notified': { en: 'the notice does not cover this item', ja: '通知の項目に含まれていない' },
  'not-filed': { en: 'no filing in force covers this item', ja: '有効な届出の項目に含まれていない' },
  unclassified: { en: 'the item could not be determined', ja: '項目を判別できない' },
};
