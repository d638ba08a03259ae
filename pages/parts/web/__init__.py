"""HTTP parts of the dashboard beside Streamlit's pages: access control, login, images, videos and uploads."""
