import { type ErrorCode, errorTable } from '../model/errors.ts';
import type { Bilingual, Doer } from './words.ts';

/**
 * What a person is told to do, in the two languages, by a closed list of reasons. The order is the order of urgency.
 * `{words}` are configured names, numbers and days.
 */
interface Entry extends Bilingual {
  readonly who: Doer;
}

export const adviceTable = {
  'safe-mode': {
    who: 'hospital IT',
    en: 'The connector crashed repeatedly and rests in safe mode: nothing is read, nothing is sent, nothing is lost. Report the log to the supplier; `kakehashi resume` tries again, and after 6 hours it does so by itself.',
    ja: '異常終了が続いたため安全モードで待機しています。収集も送信も止まっていますが、データは失われていません。ログを添えて連絡し、`kakehashi resume` で再開できます（6時間後に自動再開）。',
  },
  fault: {
    who: 'hospital IT',
    en: 'The connector stopped itself because going on would not be safe ({code}). {hint}',
    ja: '安全に継続できないため停止しました（{code}）。{hintJa}',
  },
  paused: {
    who: 'hospital IT',
    en: 'Paused by an operator. Nothing is lost; `kakehashi resume` goes on.',
    ja: '担当者の操作で一時停止中です。データは失われません。`kakehashi resume` で再開します。',
  },
  'disk-full': {
    who: 'hospital IT',
    en: 'The disk of the state folder is full: new data is not accepted, the sending systems keep it. Free space now.',
    ja: '保存領域が満杯のため新しいデータを受け取っていません（送信側に残っています）。すぐに空き容量を増やしてください。',
  },
  'clock-untrusted': {
    who: 'hospital IT',
    en: 'The clock is not trusted ({reason}, {offsetMinutes} minutes from the producer), so everything is held and nothing is sent. Check the time of this server (NTP).',
    ja: '時計を信頼できないため（{reasonJa}、事業者との差 {offsetMinutes} 分）、すべて保留し送信していません。このサーバの時刻 (NTP) を確認してください。',
  },
  'register-missing': {
    who: 'hospital IT',
    en: 'There is no register of notices yet, so everything is held. Import one: `kakehashi register import FILE`.',
    ja: '通知台帳がまだないため、すべて保留しています。`kakehashi register import FILE` で取り込んでください。',
  },
  'register-stale': {
    who: 'hospital IT',
    en: 'The register of notices is too old ({hours} hours), so everything is held. Deliver a new file, or one that says that nothing changed.',
    ja: '通知台帳が古いため（{hours} 時間前）、すべて保留しています。新しいファイル、または「変更なし」のファイルを置いてください。',
  },
  'certificate-expired': {
    who: 'producer',
    en: 'The certificate {subject} has expired: the producer does not let us in. Ask the producer for a new one.',
    ja: '証明書 {subject} の期限が切れたため接続できません。認定事業者に新しい証明書を依頼してください。',
  },
  'source-failing': {
    who: 'hospital IT',
    en: 'The source {subject} fails ({code}). {hint}',
    ja: '取得元 {subject} でエラーが発生しています（{code}）。{hintJa}',
  },
  'producer-unreachable': {
    who: 'hospital IT',
    en: 'The producer {subject} cannot be reached ({code}). What was read is safe and goes out later. {hint}',
    ja: '認定事業者 {subject} に接続できません（{code}）。収集済みデータは保管され、後で送信します。{hintJa}',
  },
  'delivery-rejected': {
    who: 'producer',
    en: 'The producer rejected {count} record(s) for good. Look at `kakehashi status` and ask the producer why.',
    ja: '認定事業者が {count} 件を恒久的に拒否しました。理由を事業者に確認してください。',
  },
  'retraction-open': {
    who: 'producer',
    en: 'A patient’s stop has not been confirmed by the producer for {hours} hours. Call the producer.',
    ja: '提供停止の依頼が {hours} 時間、認定事業者に確認されていません。事業者へ電話してください。',
  },
  'backlog-old': {
    who: 'hospital IT',
    en: 'The oldest data ready to send has waited for {hours} hours. Check transfer hours, bandwidth and the line.',
    ja: '送信待ちのデータが {hours} 時間たまっています。送信時間帯、帯域、回線を確認してください。',
  },
  'opening-late': {
    who: 'producer',
    en: 'The producer has not confirmed for {days} days that it opened what it stored. Ask the producer.',
    ja: '認定事業者の開封確認が {days} 日届いていません。事業者に問い合わせてください。',
  },
  'source-silent': {
    who: 'hospital IT',
    en: 'The source {subject} has been silent for {hours} hours, much longer than usual at this time of the week. Ask its administrator whether it still sends; on a public holiday this may be right.',
    ja: '取得元 {subject} から {hours} 時間データがありません（この曜日・時間帯としては異常です）。送信が続いているか担当者に確認してください（祝日なら正常な場合があります）。',
  },
  'job-failing': {
    who: 'hospital IT',
    en: 'The scheduled run "{subject}" failed the last time ({code}); it is tried again by itself.',
    ja: '定時処理「{subject}」が前回失敗しました（{code}）。自動で再試行します。',
  },
  'page-unavailable': {
    who: 'hospital IT',
    en: 'The page "{subject}" of this machine is not served ({code}). {hint}',
    ja: 'このサーバの「{subject}」ページを公開できません（{code}）。{hintJa}',
  },
  quarantined: {
    who: 'hospital IT',
    en: '{count} record(s) could not be assigned to one patient and wait for a person: `kakehashi quarantine list`.',
    ja: '患者を一人に特定できないデータが {count} 件、判断を待っています。`kakehashi quarantine list` を実行してください。',
  },
  'config-failed': {
    who: 'hospital IT',
    en: 'The new configuration was refused and the old one still runs. `kakehashi check` shows what to correct.',
    ja: '新しい設定は誤りがあり、以前の設定で動作しています。`kakehashi check` で確認してください。',
  },
  'certificate-expiring': {
    who: 'producer',
    en: 'The certificate {subject} expires in {days} days. Ask the producer for a new one in time.',
    ja: '証明書 {subject} の期限まで {days} 日です。早めに更新を依頼してください。',
  },
  'disk-low': {
    who: 'hospital IT',
    en: 'The disk of the state folder is getting full. Free space, or let the backlog ship.',
    ja: '保存領域の空きが少なくなっています。空き容量を増やしてください。',
  },
  'backup-old': {
    who: 'hospital IT',
    en: 'The last backup is {hours} hours old. Check the backup target.',
    ja: '最後のバックアップから {hours} 時間たっています。バックアップ先を確認してください。',
  },
} as const satisfies Readonly<Record<string, Entry>>;

export type AdviceReason = keyof typeof adviceTable;

/** In the order of urgency. */
export const adviceReasons: readonly AdviceReason[] = keysOf(adviceTable);

export interface Advice extends Bilingual {
  readonly reason: AdviceReason;
  /** Whose work it is. */
  readonly who: Doer;
  /** The error behind it, as `docs/errors.md` lists it. */
  readonly code?: ErrorCode;
  /** A configured source, producer, job or certificate. */
  readonly subject?: string;
}

function keysOf<K extends string>(table: Readonly<Record<K, Entry>>): K[] {
  const keys: K[] = [];
  for (const key in table) keys.push(key);
  return keys;
}

/** `{words}` in the sentences are filled from `words`; an error brings its code and its hint in both languages. */
export function advise(
  reason: AdviceReason,
  { code, ...words }: Readonly<Record<string, string | number>> & { readonly code?: ErrorCode } = {},
): Advice {
  const { en, ja, who } = adviceTable[reason];
  const { subject } = words;
  const error = code && { code, hint: errorTable[code].hint, hintJa: errorTable[code].ja };
  return {
    reason,
    who,
    ...(code && { code }),
    ...(subject !== undefined && { subject: String(subject) }),
    en: fill(en, { ...error, ...words }),
    ja: fill(ja, { ...error, ...words }),
  };
}

function fill(sentence: string, words: Readonly<Record<string, string | number>>): string {
  return sentence.replaceAll(/\{(\w+)\}/g, (_, name: string) => String(words[name] ?? '-')).trim();
}
