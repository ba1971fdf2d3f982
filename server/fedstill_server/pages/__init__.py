"""How every page of fedstill looks: one stylesheet and the frame of a page, for reports and the console."""
