/** Every text of the pages, in one place per language. Functions take what is filled in. */
/** What an administrator may do to a user. */
type OrderName = "kick" | "ban" | "unban";

export interface Texts {
  readonly language: string;
  readonly you: string;
  readonly loading: string;
  readonly messageLabel: (room: string) => string;
  readonly messagePlaceholder: string;
  readonly send: string;
  readonly feedLabel: (room: string) => string;
  readonly empty: string;
  readonly beginning: string;
  readonly loadingOlder: string;
  readonly olderFailed: string;
  readonly tryAgain: string;
  readonly sending: string;
  readonly sent: string;
  readonly failed: (reason: string) => string;
  readonly retry: string;
  readonly discard: string;
  readonly edited: string;
  readonly deleted: string;
  readonly toLatest: string;
  readonly newMessages: string;
  readonly toUnread: string;
  /** Who writes, which may be cut, and that they do. */
  readonly typing: (names: readonly string[]) => readonly [who: string, what: string];
  readonly here: (count: number) => string;
  readonly connecting: string;
  readonly connected: string;
  readonly offline: string;
  readonly waiting: string;
  readonly consoleWaiting: string;
  readonly retriesIn: (seconds: number) => string;
  readonly retryNow: string;
  readonly ended: (reason: string) => string;
  readonly reload: string;
  readonly roomClosed: (reason: string) => string;
  readonly announcement: string;
  readonly notification: (name: string) => string;
  readonly dismiss: string;
  readonly said: (name: string, text: string) => string;
  readonly today: string;
  readonly yesterday: string;
  readonly chooseUser: string;
  /** `more`: there are at least so many. */
  readonly unread: (count: number, more: boolean) => string;
  readonly keysTitle: string;
  readonly keys: Readonly<Record<"newLine" | "escape" | "arrows" | "ends" | "nextWindow" | "list", string>>;
  readonly formIntro: string;
  readonly token: string;
  readonly room: string;
  readonly enter: string;
  readonly console: string;
  readonly consoleLocked: string;
  readonly consoleLockedHint: string;
  readonly linkRefused: (reason: string) => string;
  readonly figures: string;
  readonly figuresStale: string;
  readonly announceTitle: string;
  readonly announceHint: string;
  readonly announceLabel: string;
  readonly announce: string;
  readonly announced: string;
  readonly announceFailed: (reason: string) => string;
  /** It may have been announced all the same. */
  readonly announceUnclear: (reason: string) => string;
  readonly usersTitle: string;
  readonly usersHint: string;
  readonly userLabel: string;
  readonly orders: Readonly<Record<OrderName, string>>;
  readonly orderQuestion: (order: OrderName, user: string) => string;
  readonly orderMeaning: Readonly<Record<OrderName, string>>;
  readonly orderDone: (order: OrderName, user: string) => string;
  readonly orderFailed: (reason: string) => string;
  /** It may have been done all the same. */
  readonly orderUnclear: (reason: string) => string;
  readonly cancel: string;
  readonly perSecond: string;
  readonly figureNames: Readonly<Record<string, string>>;
}

const english: Texts = {
  language: "en",
  you: "You",
  loading: "Loading …",
  messageLabel: (room) => `Message to ${room}`,
  messagePlaceholder: "Write a message",
  send: "Send",
  feedLabel: (room) => `Messages in ${room}`,
  empty: "Nothing has been said here yet. Say hello.",
  beginning: "The beginning of this room",
  loadingOlder: "Loading earlier messages …",
  olderFailed: "Earlier messages could not be loaded.",
  tryAgain: "Try again",
  sending: "Sending",
  sent: "Sent",
  failed: (reason) => `Not sent: ${reason}`,
  retry: "Send again",
  discard: "Discard",
  edited: "edited",
  deleted: "This message was deleted",
  toLatest: "To the latest message",
  newMessages: "New messages",
  toUnread: "To the first unread message",
  typing: (names) =>
    names.length > 2
      ? ["Several people", "are writing …"]
      : [names.join(" and "), names.length === 1 ? "is writing …" : "are writing …"],
  here: (count) => `${count} here`,
  connecting: "Connecting …",
  connected: "Connected",
  offline: "Offline",
  waiting: "The connection is lost. What you send is kept.",
  consoleWaiting: "The connection to the node is lost.",
  retriesIn: (seconds) => (seconds === 0 ? "Trying again now" : `Next try in ${seconds} s`),
  retryNow: "Try now",
  ended: (reason) => `The connection has ended: ${reason}`,
  reload: "Reload",
  roomClosed: (reason) => `This room is closed to you: ${reason}`,
  announcement: "Announcement",
  notification: (name) => `Notification: ${name}`,
  dismiss: "Dismiss",
  said: (name, text) => `${name} said: ${text}`,
  today: "Today",
  yesterday: "Yesterday",
  chooseUser: "Whose window to show",
  unread: (count, more) => `${count}${more ? "+" : ""} unread`,
  keysTitle: "Keys",
  keys: {
    newLine: "Begin a new line",
    escape: "Dismiss a notice; then from writing to the messages, and back",
    arrows: "From message to message",
    ends: "To the first message loaded, to the last",
    nextWindow: "To the next window",
    list: "This list",
  },
  formIntro: "Enter a token and a room to join the conversation.",
  token: "Token",
  room: "Room",
  enter: "Join",
  console: "Console",
  consoleLocked: "This console opens with a one-time link.",
  consoleLockedHint: "The server prints it at start. `parley token --admin` makes another.",
  linkRefused: (reason) => `The link was refused: ${reason}`,
  figures: "This node",
  figuresStale: "These figures are from before the connection was lost.",
  announceTitle: "Announce",
  announceHint: "Reaches everyone who is connected, at once. Whoever lost the connection gets it on return.",
  announceLabel: "What everyone should know",
  announce: "Announce to everyone",
  announced: "Announced.",
  announceFailed: (reason) => `Not announced: ${reason}`,
  announceUnclear: (reason) => `It is not known whether this was announced; look before you repeat it. ${reason}`,
  usersTitle: "Users",
  usersHint: "Holds on every node, within a second.",
  userLabel: "User id",
  orders: { kick: "Disconnect", ban: "Ban", unban: "Unban" },
  orderQuestion: (order, user) =>
    ({ kick: `Disconnect ${user}?`, ban: `Ban ${user}?`, unban: `Unban ${user}?` })[order],
  orderMeaning: {
    kick: "All connections of this user end. The user's software comes back by itself.",
    ban: "All connections of this user end, and no token lets the user in again until the ban is lifted.",
    unban: "The user may come back, with a new token.",
  },
  orderDone: (order, user) =>
    ({
      kick: `${user} was disconnected.`,
      ban: `${user} is banned.`,
      unban: `${user} may come back, with a new token.`,
    })[order],
  orderFailed: (reason) => `Not done: ${reason}`,
  orderUnclear: (reason) => `It is not known whether this was done; look before you repeat it. ${reason}`,
  cancel: "Cancel",
  perSecond: "per second",
  figureNames: {
    connections: "Connections",
    sockets: "Sockets",
    users: "Users",
    feeds: "Rooms followed",
    subscribers: "Subscriptions",
    detachedSessions: "Sessions kept for return",
    appendedTotal: "Entries committed",
    deliveredTotal: "Entries delivered",
    uptimeSeconds: "Uptime",
    node: "Node",
  },
};

const chinese: Texts = {
  language: "zh",
  you: "你",
  loading: "正在加载…",
  messageLabel: (room) => `发送到 ${room} 的消息`,
  messagePlaceholder: "写消息",
  send: "发送",
  feedLabel: (room) => `${room} 的消息`,
  empty: "这里还没有消息。打个招呼吧。",
  beginning: "房间的开头",
  loadingOlder: "正在加载更早的消息…",
  olderFailed: "无法加载更早的消息。",
  tryAgain: "重试",
  sending: "发送中",
  sent: "已发送",
  failed: (reason) => `未发送：${reason}`,
  retry: "重新发送",
  discard: "丢弃",
  edited: "已编辑",
  deleted: "此消息已删除",
  toLatest: "到最新消息",
  newMessages: "新消息",
  toUnread: "到第一条未读消息",
  typing: (names) => [names.length > 2 ? "多人" : names.join("、"), "正在输入…"],
  here: (count) => `${count} 人在线`,
  connecting: "正在连接…",
  connected: "已连接",
  offline: "离线",
  waiting: "连接已断开。你发送的消息会保留。",
  consoleWaiting: "与节点的连接已断开。",
  retriesIn: (seconds) => (seconds === 0 ? "正在重试" : `${seconds} 秒后重试`),
  retryNow: "立即重试",
  ended: (reason) => `连接已结束：${reason}`,
  reload: "重新加载",
  roomClosed: (reason) => `你不能再进入此房间：${reason}`,
  announcement: "公告",
  notification: (name) => `通知：${name}`,
  dismiss: "关闭",
  said: (name, text) => `${name} 说：${text}`,
  today: "今天",
  yesterday: "昨天",
  chooseUser: "显示谁的窗口",
  unread: (count, more) => `${count}${more ? "+" : ""} 条未读`,
  keysTitle: "快捷键",
  keys: {
    newLine: "换行",
    escape: "关闭通知；然后在输入框与消息之间切换",
    arrows: "逐条移动",
    ends: "到已加载的第一条消息、到最后一条",
    nextWindow: "到下一个窗口",
    list: "显示此列表",
  },
  formIntro: "输入令牌和房间以加入对话。",
  token: "令牌",
  room: "房间",
  enter: "加入",
  console: "控制台",
  consoleLocked: "控制台需要一次性链接才能打开。",
  consoleLockedHint: "服务器启动时会打印它。`parley token --admin` 可以生成新的链接。",
  linkRefused: (reason) => `链接被拒绝：${reason}`,
  figures: "本节点",
  figuresStale: "这些数字来自连接断开之前。",
  announceTitle: "公告",
  announceHint: "所有在线的人立即收到；断线的人重新连接后收到。",
  announceLabel: "所有人都应该知道的事",
  announce: "向所有人公告",
  announced: "已公告。",
  announceFailed: (reason) => `未公告：${reason}`,
  announceUnclear: (reason) => `不知道是否已公告；重复之前请先查看。${reason}`,
  usersTitle: "用户",
  usersHint: "一秒之内在所有节点生效。",
  userLabel: "用户 ID",
  orders: { kick: "断开连接", ban: "封禁", unban: "解除封禁" },
  orderQuestion: (order, user) =>
    ({ kick: `断开 ${user} 的连接？`, ban: `封禁 ${user}？`, unban: `解除对 ${user} 的封禁？` })[order],
  orderMeaning: {
    kick: "该用户的所有连接都会断开，其软件会自动重新连接。",
    ban: "该用户的所有连接都会断开；解除封禁之前，任何令牌都无法登录。",
    unban: "该用户可以用新的令牌重新登录。",
  },
  orderDone: (order, user) =>
    ({ kick: `已断开 ${user} 的连接。`, ban: `已封禁 ${user}。`, unban: `${user} 可以用新的令牌重新登录。` })[order],
  orderFailed: (reason) => `未完成：${reason}`,
  orderUnclear: (reason) => `不知道是否已完成；重复之前请先查看。${reason}`,
  cancel: "取消",
  perSecond: "每秒",
  figureNames: {
    connections: "连接",
    sockets: "套接字",
    users: "用户",
    feeds: "关注的房间",
    subscribers: "订阅",
    detachedSessions: "等待返回的会话",
    appendedTotal: "已提交条目",
    deliveredTotal: "已投递条目",
    uptimeSeconds: "运行时间",
    node: "节点",
  },
};

/** By the browser's language; English where there is no translation. */
export const texts: Texts = navigator.language.toLowerCase().startsWith("zh") ? chinese : english;
