/** All words of the console that are not health's own (`agent/health/words.ts`), in both languages. */
import type { DeliveryState } from '../buffer/deliveries.ts';
import type { Bilingual, DiskState, PartState, StateWord } from '../health/index.ts';
import type { ReceiptStatus } from '../model/wire.ts';

export const words = {
  title: { en: 'Kakehashi', ja: '架け橋' },
  language: { en: 'Language', ja: '言語' },
  reload: { en: 'Reload', ja: '再読み込み' },
  asOf: { en: 'Japan time, when this was loaded', ja: '日本時間（読み込み時点）' },

  todo: { en: 'What to do', ja: 'すること' },
  who: { en: 'Whose work', ja: '担当' },
  urgentFirst: { en: 'Most urgent first.', ja: '急ぐ順に並んでいます。' },

  powerOff: { en: 'Is it safe to power off?', ja: '安全に電源を切れますか' },
  powerOffYes: { en: 'Yes, at any time.', ja: 'はい、いつでも切れます。' },
  powerOffWhy: {
    en: 'Everything that was acknowledged is on the disk. What was not acknowledged stays with the sender, and it sends it again.',
    ja: '確認応答を返したデータは、すべてディスクに書き込まれています。応答していないデータは送信側に残り、再送されます。',
  },
  powerOffRunning: {
    en: 'Under way; goes on from where it stopped after the next start:',
    ja: '実行中（次の起動後に続きから再開します）：',
  },
  powerOffIdle: { en: 'Nothing is under way just now.', ja: '今、実行中の処理はありません。' },
  powerOffGently: {
    en: 'If you have ten seconds, stop the service first:',
    ja: '10 秒の余裕があれば、先にサービスを停止してください：',
  },

  sources: { en: 'Sources', ja: '取得元' },
  noSources: { en: 'No source is configured yet.', ja: '取得元がまだ設定されていません。' },
  producers: { en: 'Producers', ja: '提供先（認定事業者）' },
  toSend: { en: 'To send', ja: '送信待ち' },
  noProducers: { en: 'No producer is configured yet.', ja: '提供先がまだ設定されていません。' },
  port: { en: 'Port', ja: 'ポート' },
  lastOk: { en: 'Last success', ja: '最終成功' },
  silence: { en: 'Silent for', ja: '無通信' },
  usual: { en: 'usual: up to', ja: '通常は最長' },
  learning: { en: 'the usual is still being learned', ja: '通常の間隔は学習中' },
  waitingHere: { en: 'Held or ready', ja: '保留・送信待ち' },
  nextRun: { en: 'Next run', ja: '次回の実行' },
  runningNow: { en: 'running now', ja: '実行中' },
  missedRuns: { en: 'Missed runs', ja: '実行されなかった回数' },
  error: { en: 'Error', ja: 'エラー' },
  never: { en: 'never', ja: 'まだありません' },
  none: { en: 'none', ja: 'なし' },
  text: { en: 'Text', ja: 'テキスト' },
  image: { en: 'Images', ja: '画像' },
  oldestUnsent: { en: 'Oldest waiting', ja: '最も古い送信待ち' },
  lastReceipt: { en: 'Last receipt', ja: '最新の受領証' },
  parcel: { en: 'parcel', ja: '小包' },

  held: { en: 'Held', ja: '保留' },
  heldPromise: { en: 'In the hospital · encrypted · not provided', ja: '院内保留・暗号化・未提供' },
  heldFirst: { en: 'The first is destroyed on', ja: '最初の破棄予定日' },
  heldNone: { en: 'Nothing is held.', ja: '保留中のデータはありません。' },
  heldWhy: { en: 'By reason', ja: '理由別' },

  records: { en: 'Counts', ja: '件数' },
  quarantined: { en: 'Quarantined', ja: '隔離' },
  gaps: { en: 'Gaps', ja: '欠落' },
  retractions: { en: 'Open retractions', ja: '未確認の取下げ' },

  machine: { en: 'Surroundings', ja: '周辺の状態' },
  register: { en: 'Register of notices', ja: '通知台帳' },
  fresh: { en: 'fresh', ja: '有効' },
  stale: { en: 'too old', ja: '古い' },
  missing: { en: 'not there yet', ja: '未登録' },
  clock: { en: 'Clock', ja: '時計' },
  trusted: { en: 'trusted', ja: '信頼できる' },
  untrusted: { en: 'not trusted', ja: '信頼できない' },
  offset: { en: '{seconds} s from the producer', ja: '事業者との差 {seconds} 秒' },
  disk: { en: 'Disk', ja: 'ディスク' },
  space: { en: '{free} free of {total}', ja: '空き {free} ／ 全体 {total}' },
  fullIn: { en: 'Disk full in about', ja: '満杯までおよそ' },
  certificate: { en: 'Certificate', ja: '証明書' },
  validUntil: { en: 'until', ja: '期限' },
  expired: { en: 'expired', ja: '期限切れ' },
  backup: { en: 'Last backup', ja: '最新のバックアップ' },
  ledger: { en: 'Ledger', ja: '台帳' },
  entries: { en: 'entries', ja: '件' },
  uptime: { en: 'Running for', ja: '稼働時間' },
  crashes: { en: 'Crashes in the last 10 minutes', ja: '直近 10 分の異常終了' },
  configuration: { en: 'Configuration', ja: '設定' },
  version: { en: 'Version', ja: '版' },
  noPatients: {
    en: 'This page holds no patient data. It shows the moment it was loaded; reload it for a new one.',
    ja: 'このページに患者データは含まれません。表示は読み込んだ時点のものです。更新するには再読み込みしてください。',
  },

  notFound: { en: 'There is no such page', ja: 'ページがありません' },
  badRequest: { en: 'The address cannot be understood', ja: 'アドレスを解釈できません' },
  backToState: { en: 'To the state of the connector', ja: '状態のページへ' },
} as const satisfies Readonly<Record<string, Bilingual>>;

/** One sentence below the big word. */
export const stateSentences: Readonly<Record<StateWord, Bilingual>> = {
  ok: { en: 'There is nothing to do.', ja: '対応は不要です。' },
  attention: { en: 'It works. Please look at what is below.', ja: '動作中です。下の内容を確認してください。' },
  paused: { en: 'Nothing is read or sent. Nothing is lost.', ja: '収集も送信も止まっています。データは失われません。' },
  'stopped-by-fault': {
    en: 'Nothing is read or sent. Please act now.',
    ja: '収集も送信も止まっています。至急対応してください。',
  },
  safe: {
    en: 'Nothing is read or sent. It tries again by itself.',
    ja: '収集も送信も止まっています。自動でも再開を試みます。',
  },
};

export const partStateNames: Readonly<Record<PartState, Bilingual>> = {
  ok: { en: 'OK', ja: '正常' },
  failing: { en: 'Failing', ja: 'エラー' },
  paused: { en: 'Paused', ja: '一時停止' },
  silent: { en: 'Silent', ja: '無通信' },
};

/** In the order of a delivery's life, then its other ends. */
export const deliveryStateNames: Readonly<Record<DeliveryState, Bilingual>> = {
  held: { en: 'held', ja: '保留' },
  ready: { en: 'ready', ja: '送信待ち' },
  packed: { en: 'packed', ja: '梱包済み' },
  stored: { en: 'stored by the producer', ja: '事業者が受領' },
  opened: { en: 'opened by the producer', ja: '事業者が開封' },
  stopped: { en: 'stopped', ja: '提供停止' },
  refused: { en: 'refused', ja: '受入れ拒否' },
  expired: { en: 'destroyed after its time', ja: '期限で破棄' },
  rejected: { en: 'rejected by the producer', ja: '事業者が拒否' },
};

export const receiptNames: Readonly<Record<ReceiptStatus, Bilingual>> = {
  stored: { en: 'stored', ja: '受領' },
  opened: { en: 'opened', ja: '開封' },
  rejected: { en: 'rejected', ja: '拒否' },
};

export const diskStateNames: Readonly<Record<DiskState, Bilingual>> = {
  ok: { en: 'enough space', ja: '余裕あり' },
  low: { en: 'low', ja: '残り少ない' },
  full: { en: 'full', ja: '満杯' },
};
